#include "numerics/activation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/half.h"
#include "numerics/bounds.h"
#include "numerics/rotation.h"

namespace greta {
namespace {

/// Kernels may divide by d or multiply by 1 / d: two f32 roundings, so 2 ulp (4u) of the quotient.
constexpr double kQuotientError = 4 * bounds::kU;

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

struct BlockStatistics {
  float extreme = 0;         // the first of the largest magnitude
  double extreme_error = 0;  // how far it may be from what the kernel has
  bool finite = true;
  double sum = 0, magnitudes = 0;
};

BlockStatistics statistics_of(std::span<const float> x, std::span<const double> errors) {
  BlockStatistics block;
  for (size_t i = 0; i < x.size(); ++i) {
    block.finite = block.finite && std::isfinite(x[i]);
    if (std::abs(x[i]) > std::abs(block.extreme)) {
      block.extreme = x[i];
      block.extreme_error = errors.empty() ? 0 : errors[i];
    }
    block.sum += x[i];
    block.magnitudes += std::abs(x[i]);
  }
  return block;
}

/// What codes are multiplied by, where the extreme is off by its error, at most; or where kernels' quotients
/// (amax / 127, 1 / (127 / amax)) are rounded to different f16 numbers.
double scale_error_of(const BlockStatistics& block, Format format) {
  const double size = static_cast<double>(std::abs(block.extreme));
  const auto scale_of = [&](double extreme) {
    return std::abs(double{scales_of(static_cast<float>(extreme), format).of_values});
  };
  const double error = block.extreme_error + kQuotientError * size;
  const double apart = std::abs(scale_of(size + error) - scale_of(size - error));
  const bool one_number = block.extreme_error == 0 && apart < 0x1p-13 * scale_of(size);
  return one_number ? 0 : apart;
}

/// `errors`: how far each value may be from what the kernel has; empty: not at all.
void quantize_block(std::span<const float> x, std::span<const double> errors, int64_t begin, Format format,
                    ActivationRow& row) {
  const BlockStatistics block = statistics_of(x, errors);
  const bool has_sum = format == Format::q8_1 || format == Format::q8_1_sum;
  if (!block.finite) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    row.value.insert(row.value.end(), x.size(), kNan);
    row.codes.insert(row.codes.end(), x.size(), 0);
    row.scales.insert(row.scales.end(), (x.size() + kActivationBlock - 1) / kActivationBlock, kNan);
    if (has_sum) row.sums.push_back(kNan), row.sum_errors.push_back(0);
    return;
  }
  const Scales scales = scales_of(block.extreme, format);
  const double scale_error = scale_error_of(block, format);
  const double of_scale =  // relative
      block.extreme == 0 ? 0 : block.extreme_error / static_cast<double>(std::abs(block.extreme));
  double codes = 0, ties = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double quotient = scales.of_codes != 0 ? x[i] / scales.of_codes : 0;
    const double q = std::clamp(std::nearbyint(quotient), format == Format::q8_k ? -128.0 : -127.0, 127.0);
    row.value.push_back(q * scales.of_values);
    row.codes.push_back(static_cast<int16_t>(q));
    if (i % kActivationBlock == 0) row.scales.push_back(scales.of_values);
    codes += q;
    const double magnitude = std::abs(quotient);
    const double from_tie = std::abs(magnitude - std::floor(magnitude) - 0.5);
    const double own = errors.empty() || scales.of_codes == 0 ? 0 : errors[i] / scales.of_codes;
    if (scale_error > 0) row.ties.push_back({begin + static_cast<int64_t>(i), std::abs(q) * scale_error});
    if (magnitude < 127 && from_tie <= std::abs(own) + (kQuotientError + of_scale) * magnitude) {
      row.ties.push_back({begin + static_cast<int64_t>(i), std::abs(scales.of_values)});
      ++ties;
    }
  }
  // Of the integers' sum one f32 product is rounded; of the values' sum each of 31 additions.
  if (format == Format::q8_1) {
    const double s = scales.of_codes * codes;
    add_sum(s, ties * scales.of_codes + (bounds::kU + of_scale) * std::abs(s), row);
  } else if (format == Format::q8_1_sum) {
    const double of_values = std::accumulate(errors.begin(), errors.end(), 0.0);
    add_sum(block.sum, 31 * bounds::kU * block.magnitudes + of_values, row);
  }
}

ActivationRow round_blocks(std::span<const float> x, std::span<const double> errors, Format format) {
  ActivationRow row;
  const size_t block = static_cast<size_t>(format == Format::q8_k ? kSuperBlock : kActivationBlock);
  for (size_t i = 0; i < x.size(); i += block) {
    const size_t count = std::min(block, x.size() - i);
    quantize_block(x.subspan(i, count), errors.empty() ? errors : errors.subspan(i, count),
                   static_cast<int64_t>(i), format, row);
  }
  return row;
}

double round_value(float x, Format format) {
  switch (format) {
    case Format::f32:
    case Format::f64: return x;
    case Format::f16: return f16_to_f32(f32_to_f16(x));
    case Format::bf16: return bf16_to_f32(f32_to_bf16(x));
    default: fail_machine("the oracle has no activation format {}", name(format));
  }
}

}  // namespace

ActivationRow round_activations(std::span<const float> x, Format format) {
  if (is_block(format)) return round_blocks(x, {}, format);
  ActivationRow row;
  row.value.reserve(x.size());
  for (const float value : x) row.value.push_back(round_value(value, format));
  return row;
}

ActivationRow round_activations(std::span<const float> x, Format format, int rotation) {
  if (rotation == 0) return round_activations(x, format);
  const Rotated turned = rotate(x, rotation);
  if (is_block(format)) return round_blocks(turned.value, turned.error, format);
  ActivationRow row = round_activations(turned.value, format);
  for (size_t i = 0; i < x.size(); ++i) {
    const float error = static_cast<float>(turned.error[i]);
    const double most = round_value(turned.value[i] + error, format);
    const double least = round_value(turned.value[i] - error, format);
    row.ties.push_back({static_cast<int64_t>(i), most - least});
  }
  return row;
}

bool is_rounding(std::span<const float> rows, size_t width, Format format, std::span<const float> read) {
  if (rows.size() != read.size() || width == 0 || rows.size() % width != 0) return false;
  if (format == Format::f32) return std::memcmp(rows.data(), read.data(), rows.size_bytes()) == 0;
  if (is_block(format) && width % kActivationBlock != 0) return false;
  for (size_t at = 0; at < rows.size(); at += width) {
    const ActivationRow right = round_activations(rows.subspan(at, width), format);
    std::vector<double> allowed(width, 0.0);
    for (const NearTie& tie : right.ties)
      allowed[static_cast<size_t>(tie.index)] = 1.001 * std::abs(tie.step);
    for (size_t i = 0; i < width; ++i) {
      const double value = read[at + i], expected = static_cast<float>(right.value[i]);
      const bool both_nan = std::isnan(value) && std::isnan(expected);
      if (!both_nan && !(std::abs(value - expected) <= allowed[i])) return false;
    }
  }
  return true;
}

}  // namespace greta
