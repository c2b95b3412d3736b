#pragma once
// The noise ratio of a recorded tensor against the oracle.

#include <cstdint>
#include <span>

#include "numerics/oracle.h"

namespace greta {

struct NoiseRatio {
  // Largest |observed - value| / bound; infinite where a bound of 0 is not met, or NaN differs.
  double max = 0;
  int64_t at = -1;     // where it is; -1 when nothing differs at all
  int64_t beyond = 0;  // elements with a ratio above 1
  int64_t first_beyond = -1;
  int64_t untold = 0;  // elements of which `expected` tells nothing
};

/// Of one element of which something is told.
double element_noise_ratio(double observed, double value, double bound);

/// Elements where observed and value agree exactly (also -inf), and those of which nothing is told, have
/// ratio 0.
/// Requires observed.size() == expected.value.size().
NoiseRatio noise_ratio(std::span<const float> observed, const Expected& expected);

}  // namespace greta
