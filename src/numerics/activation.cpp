#include "numerics/activation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "numerics/bounds.h"

namespace greta {
namespace {

/// Kernels may divide by d or multiply by 1 / d: two f32 roundings, so 2 ulp (4u) of the quotient.
constexpr double kQuotientError = 4 * bounds::kU;

void quantize_block(std::span<const float> x, int64_t begin, Format format, ActivationRow& row) {
  float amax = 0;
  bool finite = true;
  for (const float value : x) {
    finite = finite && std::isfinite(value);
    amax = std::max(amax, std::abs(value));
  }
  if (!finite) {
    row.value.insert(row.value.end(), x.size(), std::numeric_limits<double>::quiet_NaN());
    return;
  }
  const float scale = amax / 127.0f;  // one f32 division: part of the format's definition
  const double d = format == Format::q8_0 ? f16_to_f32(f32_to_f16(scale)) : scale;
  for (size_t i = 0; i < x.size(); ++i) {
    const double quotient = d > 0 ? x[i] / d : 0;
    const double q = std::clamp(std::nearbyint(quotient), -127.0, 127.0);
    row.value.push_back(q * d);
    const double magnitude = std::abs(quotient);
    const double from_tie = std::abs(magnitude - std::floor(magnitude) - 0.5);
    if (magnitude < 127 && from_tie <= kQuotientError * magnitude)
      row.ties.push_back({begin + static_cast<int64_t>(i), d});
  }
}

}  // namespace

ActivationRow round_activations(std::span<const float> x, Format format) {
  ActivationRow row;
  row.value.reserve(x.size());
  switch (format) {
    case Format::f32: row.value.assign(x.begin(), x.end()); return row;
    case Format::f16:
      for (const float value : x) row.value.push_back(f16_to_f32(f32_to_f16(value)));
      return row;
    case Format::bf16:
      for (const float value : x) row.value.push_back(bf16_to_f32(f32_to_bf16(value)));
      return row;
    case Format::q8_block32:
    case Format::q8_0:
      for (size_t i = 0; i < x.size(); i += kActivationBlock) {
        const size_t count = std::min<size_t>(kActivationBlock, x.size() - i);
        quantize_block(x.subspan(i, count), static_cast<int64_t>(i), format, row);
      }
      return row;
    case Format::i32: break;
  }
  fail_machine("the oracle has no activation format {}", name(format));
}

}  // namespace greta
