#pragma once
// Interventions: the oracle's output in the place of a stage's own, in a live run. What then goes away was
// the stage's doing; what stays was not.

#include <span>
#include <string>

#include "engine/session.h"
#include "verdict/verdict.h"

namespace greta {

/// Where the oracle takes over.
struct InterventionSite {
  Phases phase = Phases::both;
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  bool operator==(const InterventionSite&) const = default;
};

/// Inserts an op after every such stage of the plan that computes it anew in f64 from what the run has in its
/// buffers, all rows, and overwrites it. Goes into a plan after its record ops, so that they see the oracle's
/// values. A stage that is no op of its own (x_in of a later layer) is left alone.
void insert_interventions(Plan& plan, const Engine& engine, std::span<const InterventionSite> sites);

}  // namespace greta
