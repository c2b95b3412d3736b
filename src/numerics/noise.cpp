#include "numerics/noise.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace greta {

double element_noise_ratio(double observed, double value, double bound) {
  if (observed == value) return 0;
  const double error = std::abs(observed - value);
  // Written so that NaN on one side, and a missing bound, count as the worst.
  return error < std::numeric_limits<double>::infinity() && bound > 0
             ? error / bound
             : std::numeric_limits<double>::infinity();
}

NoiseRatio noise_ratio(std::span<const float> observed, const Expected& expected) {
  if (observed.size() != expected.value.size()) {
    fail_machine("noise ratio of {} observed and {} expected values", observed.size(), expected.value.size());
  }
  NoiseRatio noise;
  for (size_t i = 0; i < observed.size(); ++i) {
    if (!expected.tells(i)) {
      ++noise.untold;
      continue;
    }
    const double ratio = element_noise_ratio(observed[i], expected.value[i], expected.bound[i]);
    if (ratio > noise.max) {
      noise.max = ratio;
      noise.at = static_cast<int64_t>(i);
    }
    if (ratio > 1) {
      if (noise.first_beyond < 0) noise.first_beyond = static_cast<int64_t>(i);
      ++noise.beyond;
    }
  }
  return noise;
}

}  // namespace greta
