#include "cli/weight_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "io/json_fields.h"
#include "io/output_file.h"
#include "report/facts.h"

namespace greta::cli {
namespace {

/// Probes of one weight and phase that found the same layout.
struct Group {
  const WeightProbe* first;
  std::vector<int> layers;
  double error_row = 0, error_column = 0;
};

std::vector<Group> group(const std::vector<WeightProbe>& probes) {
  std::vector<Group> groups;
  for (const WeightProbe& probe : probes) {
    auto it = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.first->stage == probe.stage && g.first->phase == probe.phase &&
             g.first->layout == probe.layout;
    });
    if (it == groups.end()) it = groups.insert(groups.end(), Group{&probe, {}});
    it->layers.push_back(probe.layer);
    it->error_row = std::max(it->error_row, probe.error_row);
    it->error_column = std::max(it->error_column, probe.error_column);
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return std::pair(a.first->stage, a.first->phase) < std::pair(b.first->stage, b.first->phase);
  });
  return groups;
}

/// "0-3,7", or how many where that would be too long for its column.
std::string ranges(const std::vector<int>& layers) {
  const std::string text = report::layer_ranges(layers);
  return text.size() <= 16 ? text : fmt::format("{} layers", layers.size());
}

}  // namespace

std::vector<WeightProbe> verify_weights(const MatrixRun& run) {
  const WeightProbeRequest request{run.request.routes, run.request.change, run.request.layers};
  std::vector<WeightProbe> probes = probe_weights(*run.engine, request);
  replace_file((std::filesystem::path(run.directory) / "qkv_w_verify.json").string(),
               dump_json(to_json(probes), 2) + "\n");
  return probes;
}

std::string weight_table(const std::vector<WeightProbe>& probes) {
  std::string text = fmt::format(
      "\nWeights as the kernels read them: one-hot probes on E0's routes\n{:<9} {:<8} "
      "{:<16} {:<8} {:>13} {:>16}\n",
      "weight", "phase", "layers", "layout", "error as row", "error as column");
  for (const Group& g : group(probes)) {
    text += fmt::format("{:<9} {:<8} {:<16} {:<8} {:>13.1e} {:>16.1e}\n", name(g.first->stage),
                        name(g.first->phase), ranges(g.layers), g.first->layout, g.error_row, g.error_column);
  }
  return text;
}

}  // namespace greta::cli
