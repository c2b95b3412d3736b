#pragma once
// From stages that are outside their bounds to findings: where, in which phase, and why.

#include <string>
#include <vector>

#include "judge/evidence.h"
#include "verdict/verdict.h"

namespace greta {

/// A stage of one phase of one cell that rounding does not explain.
struct Conviction {
  const PhaseRecord* phase = nullptr;
  CellKey cell;
  At at = {};
  double noise_ratio = 0;
  Phase in = Phase::prefill;
  const Sighting* sighting = nullptr;  // without one no cause is looked for
};

/// How far causes are looked for: nowhere; of each stage in its first and last wrong layers with every
/// hypothesis, and in those between with what explained these; or in every layer with every hypothesis.
enum class Causes { none, first, all };

/// One finding for each layer, stage and phase, in execution order. A stage that is wrong in both phases for
/// the same reason is one finding, "both". `threads` share the work.
std::vector<Finding> findings_of(const std::vector<Conviction>& convictions, int threads, Causes causes);

}  // namespace greta
