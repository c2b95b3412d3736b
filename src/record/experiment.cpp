#include "record/experiment.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace greta {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> table = {
      {"E0", std::nullopt, false},                                // what the engine does by itself
      {"E1", Route::vector, false},                               // is it the unit?
      {"E2", Route::matrix, false}, {"E3", Route::matrix, true},  // is it the shape?
      {"E4", Route::vector, true},
  };
  return table;
}

RouteTable Experiment::routes(RouteTable base) const {
  if (!route && !force_gemm) return base;
  RouteTable::Rule rule{{Stage::q, Stage::k, Stage::v}, Phase::decode, {route, std::nullopt}};
  if (force_gemm) rule.choice.shape = Shape::gemm;
  base.add(rule);
  return base;
}

std::string Experiment::route_name() const { return route ? std::string(greta::name(*route)) : "auto"; }

nlohmann::json to_json(const Experiment& experiment) {
  return {{"name", experiment.name},
          {"force_route", experiment.route_name()},
          {"force_gemm", experiment.force_gemm}};
}

Experiment experiment_of(const RouteTable& routes) {
  const RouteChoice choice = routes.choice(Stage::q, Phase::decode);
  const bool gemm = choice.shape == Shape::gemm;
  for (const Experiment& experiment : experiments()) {
    if (experiment.route == choice.route && experiment.force_gemm == gemm) return experiment;
  }
  return {"custom", choice.route, gemm};  // auto with GEMM: none of B3.31's
}

std::vector<Experiment> parse_experiments(const std::string& list) {
  std::vector<Experiment> result;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    const auto& table = experiments();
    const auto it =
        std::find_if(table.begin(), table.end(), [&](const Experiment& e) { return e.name == item; });
    if (it == table.end()) fail_input("unknown experiment \"{}\"; use some of E0,E1,E2,E3,E4", item);
    if (std::none_of(result.begin(), result.end(), [&](const Experiment& e) { return e.name == item; })) {
      result.push_back(*it);
    }
  }
  if (result.empty()) fail_input("no experiment given; use some of E0,E1,E2,E3,E4");
  return result;
}

}  // namespace greta
