#pragma once
// Values as 16-bit formats keep them, for hypotheses.

#include <array>
#include <cmath>
#include <cstdint>
#include <string>

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

/// The same with the bits cut off: towards zero.
inline double cut_to(double value, Format format) {
  const auto nearer = [value](auto bits, auto decode) {  // its magnitude is the bits below the sign
    const double rounded = static_cast<double>(decode(bits));
    return std::abs(rounded) > std::abs(value) ? static_cast<double>(decode(static_cast<uint16_t>(bits - 1)))
                                               : rounded;
  };
  const float single = static_cast<float>(value);
  if (format == Format::f16) return nearer(f32_to_f16(single), f16_to_f32);
  if (format == Format::bf16) return nearer(f32_to_bf16(single), bf16_to_f32);
  return static_cast<double>(single);
}

/// A 16-bit format, and how values are brought into it.
struct Narrowing {
  Format format = Format::bf16;
  bool cut = false;

  double of(double value) const { return cut ? cut_to(value, format) : rounded_to(value, format); }
  std::string en() const { return (cut ? "cut to " : "rounded to ") + std::string(name(format)); }
  std::string es() const { return (cut ? "trunca a " : "redondea a ") + std::string(name(format)); }
};

inline constexpr std::array kNarrowings{Narrowing{Format::f16}, Narrowing{Format::bf16},
                                        Narrowing{Format::f16, true}, Narrowing{Format::bf16, true}};

}  // namespace greta
