#pragma once
// Which kernel a projection shall take: the setting behind --route and the B3.31 flags.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel.h"
#include "model/phase.h"
#include "model/stage.h"

namespace greta {

/// A wish for one projection; empty fields leave the choice to the planner.
struct RouteChoice {
  std::optional<Route> route;
  std::optional<Shape> shape;
};

/// An ordered list of rules; the last rule that matches a stage and phase wins.
class RouteTable {
 public:
  struct Rule {
    std::vector<Stage> stages;
    std::optional<Phase> phase;  // empty: both
    RouteChoice choice;
  };

  void add(Rule rule) { rules_.push_back(std::move(rule)); }
  RouteChoice choice(Stage stage, Phase phase) const;
  bool empty() const { return rules_.empty(); }

 private:
  std::vector<Rule> rules_;
};

/// "[prefill:|decode:]STAGES=ROUTE[/SHAPE]": STAGES is a comma list of projections or `all`; ROUTE is auto,
/// vector (valu) or matrix (mfma); SHAPE is gemm or gemv. Throws an input Error that says what is allowed.
RouteTable::Rule parse_route_rule(const std::string& text);

/// auto (empty), vector or valu, matrix or mfma. Throws an input Error naming `where`.
std::optional<Route> parse_route(std::string_view text, std::string_view where);

}  // namespace greta
