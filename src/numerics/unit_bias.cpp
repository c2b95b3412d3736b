#include "numerics/unit_bias.h"

#include <algorithm>
#include <cmath>

#include "numerics/bounds.h"

namespace greta {
namespace {

// What the estimate of a unit's errors leaves open (docs/numerics.md, "Matrix units"; measured there).
constexpr double kGainKnown = 0.5;    // the gain of a right unit, once noise is averaged out
constexpr double kDriftKnown = 0.1;   // one output's drift, relative
constexpr double kSpreadKnown = 2.5;  // the mean square

}  // namespace

double likely_square(const Expected& expected, size_t i) {
  const double spread = expected.spread[i], drift = kDriftKnown * expected.drift[i];
  return spread * spread + drift * drift;
}

UnitBias unit_bias(std::span<const float> observed, const Expected& expected,
                   const std::vector<char>& counts) {
  UnitBias bias;
  if (expected.drift.empty() || counts.empty()) return bias;
  const size_t width = observed.size() / counts.size();
  double both = 0, square = 0, spread = 0, count = 0;
  for (size_t i = 0; i < observed.size(); ++i) {
    const double drift = expected.drift[i], variance = expected.spread[i] * expected.spread[i];
    const double error = static_cast<double>(observed[i]) - expected.value[i];
    if (counts[i / width] == 0 || !std::isfinite(error) || !(variance > 0)) continue;
    both += (error + drift) * drift / variance;
    square += drift * drift / variance;
    spread += error * error / likely_square(expected, i);
    ++count;
  }
  if (!(square > 0)) return bias;
  bias.gain = both / square;
  bias.spread = spread / count;
  // Independent errors: the gain has variance 1 / square, the mean square about 2 / count.
  const double gain_allowed = kGainKnown + bounds::kLambda / std::sqrt(square);
  const double spread_allowed = kSpreadKnown * (1 + bounds::kLambda * std::sqrt(2 / count));
  bias.ratio = std::max(std::abs(bias.gain - 1) / gain_allowed, bias.spread / spread_allowed);
  return bias;
}

}  // namespace greta
