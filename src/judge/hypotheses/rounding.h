#pragma once
// Values as 16-bit formats keep them, for hypotheses.

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

}  // namespace greta
