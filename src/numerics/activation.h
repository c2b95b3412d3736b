#pragma once
// The activation roundings that kernels declare, applied in f64 terms to recorded f32 inputs.

#include <cstdint>
#include <span>
#include <vector>

#include "base/rounding.h"

namespace greta {

inline constexpr int64_t kActivationBlock = 32;

/// An element whose quotient x / d lies so close to a rounding tie
/// that a correct kernel may pick either neighbour.
struct NearTie {
  int64_t index;  // in the row
  double step;    // what the other choice would change: the block's scale
};

/// One row of activations as the kernel multiplies them.
struct ActivationRow {
  std::vector<double> value;
  std::vector<NearTie> ties;
};

/// f32: the values themselves; f16, bf16: rounded to nearest even; q8_block32: q * d per block of 32, with
/// d = amax / 127 in f32 and q = round-to-nearest-even(x / d); q8_0: the same with d rounded to f16, q within
/// +-127. A block that is not finite becomes NaN.
ActivationRow round_activations(std::span<const float> x, Format format);

}  // namespace greta
