#include "report/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/json_number.h"
#include "report/facts.h"

namespace greta::report {
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
  const std::string text = layer_ranges(layers);
  return text.size() <= 16 ? text : fmt::format("{} layers", layers.size());
}

}  // namespace

Document weights_report(const std::vector<WeightProbe>& probes) {
  Table table{{{.head = "weight", .least = 9},
               {.head = "phase", .least = 8},
               {.head = "layers", .least = 16},
               {.head = "layout", .least = 8},
               {.head = "error as row", .align = Align::right, .least = 13},
               {.head = "error as column", .align = Align::right, .least = 16}},
              {}};
  for (const Group& g : group(probes)) {
    table.rows.push_back({name(g.first->stage), name(g.first->phase), ranges(g.layers), g.first->layout,
                          fmt::format("{:.1e}", g.error_row), fmt::format("{:.1e}", g.error_column)});
  }
  return {Heading{2, "Weights as the kernels read them: one-hot probes on E0's routes"}, std::move(table)};
}

nlohmann::json weights_json(const std::vector<WeightProbe>& probes) {
  const auto count = [&](const char* layout) {
    return std::count_if(probes.begin(), probes.end(),
                         [=](const WeightProbe& p) { return p.layout == layout; });
  };
  nlohmann::json list = nlohmann::json::array();
  for (const WeightProbe& probe : probes) {
    list.push_back({{"phase", name(probe.phase)},
                    {"layer", probe.layer},
                    {"stage", name(probe.stage)},
                    {"layout", probe.layout},
                    {"error_row", json_number(probe.error_row)},
                    {"error_column", json_number(probe.error_column)},
                    {"kernel", probe.kernel},
                    {"columns", probe.columns}});
  }
  return {{"schema", "greta.qkv_w_verify/1"},
          {"probes", std::move(list)},
          {"row", count("row")},
          {"column", count("column")},
          {"neither", count("neither")}};
}

}  // namespace greta::report
