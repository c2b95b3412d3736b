#include "cli/weight_verify.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/json_fields.h"
#include "io/output_file.h"
#include "report/weights.h"

namespace greta::cli {

std::vector<WeightProbe> verify_weights(const MatrixRun& run) {
  const WeightProbeRequest request{run.request.routes, run.request.change, run.request.layers};
  std::vector<WeightProbe> probes = probe_weights(*run.engine, request);
  replace_file((std::filesystem::path(run.directory) / "qkv_w_verify.json").string(),
               dump_json(report::weights_json(probes), 2) + "\n");
  return probes;
}

}  // namespace greta::cli
