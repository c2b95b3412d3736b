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

constexpr int64_t kSuperBlock = 256;

double as_f16(double x) { return f16_to_f32(f32_to_f16(static_cast<float>(x))); }

/// The scale that codes are made by, and the one that they are multiplied by.
struct Scales {
  double of_codes = 0, of_values = 0;
};

/// `extreme`: the first value of the largest magnitude.
Scales scales_of(float extreme, Format format) {
  const float scale = std::abs(extreme) / 127.0f;  // one f32 division: part of the formats' definition
  const double stored = as_f16(scale);
  switch (format) {
    case Format::q8_block32: return {scale, scale};
    case Format::q8_0_stored: return {stored, stored};
    case Format::q8_k: {
      if (extreme == 0) return {};
      const float inverse = -127.0f / extreme;
      return {1 / double{inverse}, 1.0f / inverse};
    }
    default: return {scale, stored};
  }
}

/// The sum beside a block, and what else it may be: where a code may be its neighbour, or where the sum
/// before its rounding to f16 is only known up to `error`.
void add_sum(double sum, double error, ActivationRow& row) {
  row.sums.push_back(as_f16(sum));
  row.sum_errors.push_back(as_f16(sum + error) - as_f16(sum - error));
}

void quantize_block(std::span<const float> x, int64_t begin, Format format, ActivationRow& row) {
  float extreme = 0;
  bool finite = true;
  double sum = 0, magnitudes = 0;
  for (const float value : x) {
    finite = finite && std::isfinite(value);
    if (std::abs(value) > std::abs(extreme)) extreme = value;
    sum += value;
    magnitudes += std::abs(value);
  }
  const bool has_sum = format == Format::q8_1 || format == Format::q8_1_sum;
  if (!finite) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    row.value.insert(row.value.end(), x.size(), kNan);
    if (has_sum) row.sums.push_back(kNan), row.sum_errors.push_back(0);
    return;
  }
  const Scales scales = scales_of(extreme, format);
  double codes = 0, ties = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double quotient = scales.of_codes != 0 ? x[i] / scales.of_codes : 0;
    const double q = std::clamp(std::nearbyint(quotient), format == Format::q8_k ? -128.0 : -127.0, 127.0);
    row.value.push_back(q * scales.of_values);
    codes += q;
    const double magnitude = std::abs(quotient);
    const double from_tie = std::abs(magnitude - std::floor(magnitude) - 0.5);
    if (magnitude < 127 && from_tie <= kQuotientError * magnitude) {
      row.ties.push_back({begin + static_cast<int64_t>(i), std::abs(scales.of_values)});
      ++ties;
    }
  }
  // Of the integers' sum one f32 product is rounded; of the values' sum each of 31 additions.
  if (format == Format::q8_1) {
    const double s = scales.of_codes * codes;
    add_sum(s, ties * scales.of_codes + bounds::kU * std::abs(s), row);
  } else if (format == Format::q8_1_sum) {
    add_sum(sum, 31 * bounds::kU * magnitudes, row);
  }
}

}  // namespace

ActivationRow round_activations(std::span<const float> x, Format format) {
  ActivationRow row;
  row.value.reserve(x.size());
  switch (format) {
    case Format::f32:
    case Format::f64: row.value.assign(x.begin(), x.end()); return row;
    case Format::f16:
      for (const float value : x) row.value.push_back(f16_to_f32(f32_to_f16(value)));
      return row;
    case Format::bf16:
      for (const float value : x) row.value.push_back(bf16_to_f32(f32_to_bf16(value)));
      return row;
    case Format::i32: break;
    default: {
      const size_t block = static_cast<size_t>(format == Format::q8_k ? kSuperBlock : kActivationBlock);
      for (size_t i = 0; i < x.size(); i += block) {
        const size_t count = std::min(block, x.size() - i);
        quantize_block(x.subspan(i, count), static_cast<int64_t>(i), format, row);
      }
      return row;
    }
  }
  fail_machine("the oracle has no activation format {}", name(format));
}

}  // namespace greta
