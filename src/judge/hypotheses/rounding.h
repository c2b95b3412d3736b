#pragma once
// Values as 16-bit formats keep them, for hypotheses.

#include <cmath>

#include "base/half.h"
#include "base/rounding.h"

namespace greta {

/// To nearest, from f32; formats other than f16 and bf16 leave f32.
inline double rounded_to(double value, Format format) {
  const float single = static_cast<float>(value);
  if (format == Format::f16) return static_cast<double>(f16_to_f32(f32_to_f16(single)));
  if (format == Format::bf16) return static_cast<double>(bf16_to_f32(f32_to_bf16(single)));
  return static_cast<double>(single);
}

/// Toward zero, as a shift of the bits leaves it.
inline double cut_to(double value, Format format) {
  const double near = rounded_to(value, format);
  if (std::abs(near) <= std::abs(value)) return near;
  const uint16_t bits =
      format == Format::f16 ? f32_to_f16(static_cast<float>(near)) : f32_to_bf16(static_cast<float>(near));
  const auto below = static_cast<uint16_t>(bits - 1);  // magnitudes are in the order of their bits
  return static_cast<double>(format == Format::f16 ? f16_to_f32(below) : bf16_to_f32(below));
}

}  // namespace greta
