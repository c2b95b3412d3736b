#pragma once
// What a weight's minima and zero points are multiplied by: the sums of the activations' blocks.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// Sums of other blocks than a weight's own, or of some of their activations.
std::vector<Candidate> misread_sums(const Suspect& s);

}  // namespace greta
