#pragma once
// Interventions: the oracle's output in the place of a stage's own, in a live run. What then goes away was
// the stage's doing; what stays was not.

#include <string>
#include <vector>

#include "engine/plan_change.h"
#include "verdict/verdict.h"

namespace greta {

/// Where the oracle takes over.
struct InterventionSite {
  Phases phase = Phases::both;
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  bool operator==(const InterventionSite&) const = default;
};

/// In every plan, an op after every such stage that computes it anew in f64 from what the run has in its
/// buffers, all rows, and overwrites it. Records see the oracle's values. A stage that is no op of its own
/// (x_in of a later layer) is left alone. `engine` must outlive the plans.
PlanChange interventions(const Engine& engine, std::vector<InterventionSite> sites);

}  // namespace greta
