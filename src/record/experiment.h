#pragma once
// The experiment matrix of B3.31: what is forced on decode's q, k and v.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/route.h"

namespace greta {

struct Experiment {
  std::string name;
  std::optional<Route> route;  // empty: auto
  bool force_gemm = false;

  /// The base table with this experiment's rule on top.
  RouteTable routes(RouteTable base) const;
  /// "auto", "vector" or "matrix".
  std::string route_name() const;
};

/// For the manifest: name, force_route, force_gemm.
nlohmann::json to_json(const Experiment& experiment);

/// The experiment that a table of routes amounts to, by what it asks for decode's q.
Experiment experiment_of(const RouteTable& routes);

/// E0 .. E4.
const std::vector<Experiment>& experiments();

/// "E0,E2": those of the table, in the order given. Throws an input Error for a name that is not there.
std::vector<Experiment> parse_experiments(const std::string& list);

}  // namespace greta
