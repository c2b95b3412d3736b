#include "cli/weight_verify.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "bundle/bundle_files.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "report/weights.h"

namespace greta::cli {
namespace {

constexpr const char* kFile = "qkv_w_verify.json";
static_assert(is_listed_file(kFile));  // a bundle that is recorded anew takes it with it

}  // namespace

std::vector<WeightProbe> verify_weights(const MatrixRun& run) {
  const WeightProbeRequest request{run.request.routes, run.request.change, run.request.layers};
  std::vector<WeightProbe> probes = probe_weights(*run.engine, request);
  replace_file((std::filesystem::path(run.directory) / kFile).string(),
               dump_json(report::weights_json(probes), 2) + "\n");
  return probes;
}

}  // namespace greta::cli
