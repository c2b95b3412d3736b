#pragma once
// Which way a unit's sums err: the signed error of projections against the exact sum of their own recorded
// inputs, rounded as the kernel declares. What is left is the accumulation's own rounding: nearest has mean
// 0, a floor errs downwards, truncation towards zero. Beside it, what the unit's rule predicts.

#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "model/model.h"
#include "verdict/whatif.h"

namespace greta {

/// Of the recorded rows of prefill and of decode0 in every cell of the bundle; in that order, by route.
std::vector<AccumulationBias> accumulation_bias(const Bundle& bundle, const Model& model, int threads);

}  // namespace greta
