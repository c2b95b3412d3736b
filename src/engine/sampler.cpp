#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace greta {

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

int32_t Sampler::next(std::span<const float> logits) {
  const int32_t best = argmax(logits);
  if (temperature_ <= 0) return best;
  const double max = static_cast<double>(logits[static_cast<size_t>(best)]);
  std::vector<double> cumulative;
  cumulative.reserve(logits.size());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp((static_cast<double>(logit) - max) / temperature_);
    cumulative.push_back(sum);
  }
  // 53 random bits as a fraction: std distributions differ between libraries.
  const double draw = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  const auto it = std::upper_bound(cumulative.begin(), cumulative.end(), draw);
  return static_cast<int32_t>(std::min(it - cumulative.begin(), std::ssize(cumulative) - 1));
}

}  // namespace greta
