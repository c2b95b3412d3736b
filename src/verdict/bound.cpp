#include "verdict/bound.h"

#include <algorithm>
#include <cmath>

namespace greta {

BoundSummary summary_of(const PlaceBound& place) {
  std::vector<PositionBound> sorted = place.positions;
  const auto less = [](const PositionBound& a, const PositionBound& b) { return a.bound < b.bound; };
  std::stable_sort(sorted.begin(), sorted.end(), less);
  BoundSummary summary{sorted.back(), sorted[sorted.size() / 2], {}, 0};
  double sum = 0;
  for (const PositionBound& position : sorted) {
    if (position.is_last) summary.last = position;  // ascending: the worst of them
    sum += place.is_divergence ? position.typical : position.typical * position.typical;
  }
  const double mean = sum / static_cast<double>(sorted.size());
  summary.typical = place.is_divergence ? mean : std::sqrt(mean);
  return summary;
}

}  // namespace greta
