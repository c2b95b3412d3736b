#pragma once
// Which way a unit's sums err: the signed error of projections against the exact sum of their own recorded
// inputs, rounded as the kernel declares. What is left is the accumulation's own rounding: nearest has mean
// 0, a floor errs downwards, truncation towards zero. Beside it, what the unit's rule predicts.

#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "model/model.h"

namespace greta {

/// A mean and how far chance may have moved it.
struct Mean {
  double value = 0;
  double standard_error = 0;  // from the scatter between input rows; infinite for a single one
  // By the rule of a unit that truncates or floors, of the same outputs (Expected::drift).
  std::optional<double> expected = {};
};

/// All outputs of all recorded projections of one phase and route, in units of the result's last place (ulp:
/// of the f32 result, or of the root mean square of its row where the result is smaller: cancelled results
/// would otherwise count without limit).
struct AccumulationBias {
  std::string phase = {};  // "prefill" or "decode0"
  std::string route = {};  // "matrix" or "vector"
  std::vector<std::string> kernels = {};
  int64_t count = 0;   // outputs
  int64_t inputs = 0;  // rows that they are made from
  Mean up = {};        // observed - exact: below 0, values are rounded down (floor)
  Mean outward = {};  // the same times the result's sign: below 0, they are rounded towards zero (truncation)
};

/// Of the recorded rows of prefill and of decode0 in every cell of the bundle; in that order, by route.
std::vector<AccumulationBias> accumulation_bias(const Bundle& bundle, const Model& model, int threads);

}  // namespace greta
