#pragma once
// Products of quantised rows by blocks: what a kernel makes that rounds between them.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// The product of a block's two scales, or the sum after every block, in 16 bits; of weights with a scale a
/// block of 32, and activations in blocks.
std::vector<Candidate> rounded_in_blocks(const Suspect& s);

}  // namespace greta
