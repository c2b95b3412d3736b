#pragma once
// The activation roundings that kernels declare, applied in f64 terms to recorded f32 inputs.

#include <cstdint>
#include <span>
#include <vector>

#include "base/rounding.h"

namespace greta {

inline constexpr int64_t kActivationBlock = 32;
inline constexpr int64_t kSuperBlock = 256;  // of q8_k

/// An element whose quotient x / d lies so close to a rounding tie
/// that a correct kernel may pick either neighbour.
struct NearTie {
  int64_t index;  // in the row
  double step;    // what the other choice would change: of codes the block's scale
};

/// One row of activations as the kernel multiplies them.
struct ActivationRow {
  std::vector<double> value;
  std::vector<NearTie> ties;
  // Of blocks: value = code * scale, with a scale per kActivationBlock.
  std::vector<int16_t> codes = {};
  std::vector<double> scales = {};
  // Of q8_1 and q8_1_sum, per block of 32: what a weight's minimum is multiplied by, and how far a correct
  // kernel may be from it. Else empty: the sum of the values.
  std::vector<double> sums = {}, sum_errors = {};
};

/// f32, f64: the values themselves; f16, bf16: rounded to nearest even; blocks: q * d, as base/rounding.h
/// describes each format (ggml's: quantize_row_q8_0, _q8_1, _q8_K of ggml-cpu/quants.c and ggml-quants.c,
/// quantize_q8_1 of ggml-cuda/quantize.cu). A block that is not finite becomes NaN.
ActivationRow round_activations(std::span<const float> x, Format format);

/// The same of a row that is first turned in blocks of `rotation` (numerics/rotation.h; 0: as it is). What a
/// turned value may be otherwise, before or after its rounding, is among the ties.
ActivationRow round_activations(std::span<const float> x, Format format, int rotation);

/// Whether `read`, [rows, width], are `rows`, bit for bit; in another format, whether they are what these are
/// rounded to (of two values as near, either).
bool is_rounding(std::span<const float> rows, size_t width, Format format, std::span<const float> read);

}  // namespace greta
