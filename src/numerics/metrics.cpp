#include "numerics/metrics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace greta {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kUlpSaturated = int64_t{1} << 32;

void demand_equal_sizes(size_t a, size_t b) {
  if (a != b) fail_machine("compared tensors have {} and {} elements", a, b);
}

uint32_t bits(float value) { return std::bit_cast<uint32_t>(value); }

/// Steps between two finite floats of one sign; saturated when the signs differ or one is not finite. Zeros
/// have no sign here: +0 and -0 are 0 steps apart, and either is one step from the least subnormals.
int64_t ulp_distance(float a, float b) {
  if (!std::isfinite(a) || !std::isfinite(b)) return kUlpSaturated;
  const bool signs_matter = a != 0 && b != 0;
  if (signs_matter && std::signbit(a) != std::signbit(b)) return kUlpSaturated;
  const int64_t x = bits(a) & 0x7fffffffu;
  const int64_t y = bits(b) & 0x7fffffffu;
  return std::abs(x - y);
}

int64_t arg_max(std::span<const float> values) {
  int64_t best = -1;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    if (best < 0 || values[i] > values[static_cast<size_t>(best)]) best = static_cast<int64_t>(i);
  }
  return std::max<int64_t>(best, 0);
}

/// log(sum(exp(x)))
double log_sum_exp(std::span<const float> values, double max) {
  double sum = 0;
  for (const float value : values) sum += std::exp(value - max);
  return max + std::log(sum);
}

double margin_of(std::span<const float> values, int64_t top) {
  double second = -kInfinity;
  for (size_t i = 0; i < values.size(); ++i) {
    if (static_cast<int64_t>(i) != top) second = std::max(second, double{values[i]});
  }
  return values[static_cast<size_t>(top)] - second;
}

}  // namespace

Summary summarize(std::span<const float> values) {
  Summary summary;
  summary.count = static_cast<int64_t>(values.size());
  double min = kInfinity, max = -kInfinity, sum = 0, squares = 0;
  for (const float value : values) {
    if (std::isnan(value)) {
      ++summary.nan;
    } else if (std::isinf(value)) {
      ++summary.inf;
    } else {
      min = std::min(min, double{value});
      max = std::max(max, double{value});
      sum += value;
      squares += double{value} * value;
    }
  }
  const int64_t finite = summary.count - summary.nan - summary.inf;
  if (finite == 0) return summary;
  summary.min = min;
  summary.max = max;
  summary.mean = sum / static_cast<double>(finite);
  summary.rms = std::sqrt(squares / static_cast<double>(finite));
  return summary;
}

PairMetrics compare(std::span<const float> a, std::span<const float> b) {
  demand_equal_sizes(a.size(), b.size());
  PairMetrics pair;
  pair.count = static_cast<int64_t>(a.size());
  double sum_abs = 0, diff2 = 0, a2 = 0, b2 = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool same = bits(a[i]) == bits(b[i]);
    if (!same) {
      if (pair.first_differing < 0) pair.first_differing = static_cast<int64_t>(i);
      ++pair.differing;
      pair.max_ulp = std::max(pair.max_ulp, ulp_distance(a[i], b[i]));
    }
    const double x = a[i], y = b[i];
    if (!std::isfinite(x) || !std::isfinite(y)) {
      if (!same) sum_abs = pair.max_abs = diff2 = kInfinity;
      continue;  // a norm with an infinity in it says nothing: norms are over the finite elements
    }
    const double diff = std::abs(x - y);
    sum_abs += diff;
    pair.max_abs = std::max(pair.max_abs, diff);
    diff2 += diff * diff;
    a2 += x * x;
    b2 += y * y;
    ab += x * y;
  }
  pair.bit_equal = pair.differing == 0;
  if (pair.count > 0) pair.mae = sum_abs / static_cast<double>(pair.count);
  if (diff2 > 0) pair.rel_l2 = a2 > 0 ? std::sqrt(diff2 / a2) : kInfinity;
  if (a2 > 0 && b2 > 0) {
    pair.cosine = std::clamp(ab / (std::sqrt(a2) * std::sqrt(b2)), -1.0, 1.0);
    pair.norm_ratio = std::sqrt(b2 / a2);
  } else if (a2 != b2) {
    pair.cosine = 0;
    pair.norm_ratio = a2 > 0 ? 0 : kInfinity;
  }
  return pair;
}

LogitMetrics compare_logits(std::span<const float> a, std::span<const float> b) {
  demand_equal_sizes(a.size(), b.size());
  LogitMetrics metrics;
  if (a.empty()) return metrics;
  metrics.top1_a = arg_max(a);
  metrics.top1_b = arg_max(b);
  metrics.top1_agree = metrics.top1_a == metrics.top1_b;
  metrics.margin = margin_of(a, metrics.top1_a);
  const bool finite =
      std::all_of(a.begin(), a.end(), [](float v) { return !std::isnan(v) && v < kInfinity; }) &&
      std::all_of(b.begin(), b.end(), [](float v) { return !std::isnan(v) && v < kInfinity; });
  const double max_a = a[static_cast<size_t>(metrics.top1_a)];
  const double max_b = b[static_cast<size_t>(metrics.top1_b)];
  if (!finite || std::isinf(max_a) || std::isinf(max_b)) {
    metrics.kl =
        std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) { return bits(x) == bits(y); })
            ? 0
            : kInfinity;
    return metrics;
  }
  const double norm_a = log_sum_exp(a, max_a);
  const double norm_b = log_sum_exp(b, max_b);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double log_p = a[i] - norm_a;
    const double p = std::exp(log_p);
    if (p > 0) kl += p * (log_p - (b[i] - norm_b));
  }
  metrics.kl = std::max(kl, 0.0);  // it is never negative; rounding of the sum may be
  return metrics;
}

}  // namespace greta
