#pragma once
// The sum of a row of non-negative numbers, with the relative error that an f32 sum may have. Internal.

#include <cmath>
#include <span>
#include <vector>

#include "numerics/bounds.h"

namespace greta {

struct RowSum {
  double value = 0;
  double relative_error = 0;  // of the additions alone, not of the terms
};

/// Term i goes to partial sum i % lanes;
/// a binary tree then adds the partial sums up. lanes == 1 is plain summation in order.
inline RowSum sum_positive(std::span<const double> terms, int lanes) {
  std::vector<double> partial(static_cast<size_t>(lanes));
  double energy = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    double& lane = partial[i % partial.size()];
    lane += terms[i];
    energy += lane * lane;
  }
  for (size_t width = partial.size(); width > 1; width = (width + 1) / 2) {
    const size_t half = (width + 1) / 2;
    for (size_t i = 0; i + half < width; ++i) {
      partial[i] += partial[i + half];
      energy += partial[i] * partial[i];
    }
  }
  RowSum sum{partial[0], 0};
  if (sum.value > 0) {
    const double count = static_cast<double>(terms.size()) + lanes - 1;
    sum.relative_error = bounds::accumulated(energy, count, bounds::kU) / sum.value;
  }
  return sum;
}

}  // namespace greta
