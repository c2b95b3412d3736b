#pragma once
// How blocks of packed weights and of activations are coded (pack.h has the layouts). Plain data and
// constants: kernels of every device read this.

#include <cstdint>

#include "model/tensor_type.h"

namespace greta {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kBlock = 32;  // K elements per quantisation block

/// How the scales of a run lie, [16] being the lanes. A run is a block, or the 8 of a super-block.
enum class ScaleForm : uint8_t {
  halves,     // per block f16 d[16], and m[16] where the type has a minimum
  signed8,    // per super-block f16 D[16]; then per block and group int8 s[16]: d = D * s
  unsigned8,  // per super-block f16 D[16], M[16]; then per block uint8 s[16], t[16]: d = D * s, m = -(M * t)
  nibbles,    // the same, but per block and group one uint8 [16]: s in its low, t in its high 4 bits
  exponent,   // per block uint8 e[16]: d = 2^(e - 128)
};

/// Levels of iq4_nl and iq4_xs, + 128; the elements of mxfp4 (e2m1), doubled, + 16.
inline constexpr uint8_t kIq4Codes[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                          129, 141, 153, 166, 181, 197, 217, 241};
inline constexpr uint8_t kMxfp4Codes[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

/// What a code stands for before the offset: itself, or an entry of a table.
enum class Levels : uint8_t { none, iq4, mxfp4 };

constexpr const uint8_t* table_of(Levels levels) { return levels == Levels::iq4 ? kIq4Codes : kMxfp4Codes; }

/// How a block of 32 weights is packed: all that pack() and the kernels know of a type.
struct BlockCode {
  int bits = 0;        // 2 to 6, or 8; 0: not a block type
  int log_offset = 0;  // offset = 2^log_offset; no offset where there is a minimum
  bool has_min = false;
  int groups = 1;  // of scales
  ScaleForm form = ScaleForm::halves;
  Levels levels = Levels::none;

  constexpr int offset() const { return has_min ? 0 : 1 << log_offset; }
  constexpr int64_t bytes() const { return 64 * bits; }
  constexpr bool has_super() const { return form != ScaleForm::halves && form != ScaleForm::exponent; }
  /// Blocks that share the f16 scales before them, the bytes of those, and the bytes each block adds.
  constexpr int64_t run() const { return has_super() ? 8 : 1; }
  constexpr int64_t head_bytes() const { return form == ScaleForm::exponent ? 0 : has_min ? 64 : 32; }
  constexpr int64_t small_bytes() const {
    return form == ScaleForm::halves ? 0 : form == ScaleForm::unsigned8 ? 32 : 16 * groups;
  }
  /// Bytes of a run's scales; of those and its codes (no multiple of 64: loads are unaligned).
  constexpr int64_t scale_bytes() const { return head_bytes() + run() * small_bytes(); }
  constexpr int64_t run_bytes() const { return scale_bytes() + run() * bytes(); }
};

constexpr BlockCode block_code(TensorType type) {
  switch (type) {
    case TensorType::q4_0: return {4, 3};
    case TensorType::q4_1: return {4, 0, true};
    case TensorType::q5_0: return {5, 4};
    case TensorType::q5_1: return {5, 0, true};
    case TensorType::q8_0: return {8, 7};
    case TensorType::q2_k: return {2, 0, true, 2, ScaleForm::nibbles};
    case TensorType::q3_k: return {3, 2, false, 2, ScaleForm::signed8};
    case TensorType::q4_k: return {4, 0, true, 1, ScaleForm::unsigned8};
    case TensorType::q5_k: return {5, 0, true, 1, ScaleForm::unsigned8};
    case TensorType::q6_k: return {6, 5, false, 2, ScaleForm::signed8};
    case TensorType::iq4_nl: return {4, 7, false, 1, ScaleForm::halves, Levels::iq4};
    case TensorType::iq4_xs: return {4, 7, false, 1, ScaleForm::signed8, Levels::iq4};
    case TensorType::mxfp4: return {4, 4, false, 1, ScaleForm::exponent, Levels::mxfp4};
    default: return {};
  }
}

/// The types that block_code() knows, for lists of kernels.
#define GRETA_BLOCK_TYPES(X) \
  X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) X(iq4_nl) X(iq4_xs) X(mxfp4)

/// One block of 32 activations in Format::q8_block32: value q[i] * d. a: its largest magnitude.
///   d       = a / 127          in f32
///   q       = x / d            in f32, rounded to nearest even, at most +-127; 0 where d is 0
///   sum     = sum of q
///   s       = d * sum          in f32
///   sum_low = sum of the first 16 q
/// A NaN or an infinity in the block makes d NaN or infinite, so that no product hides it.
struct ActivationBlock {
  int8_t q[32];
  float d;
  float s;
  int32_t sum;
  int32_t sum_low;
};
static_assert(sizeof(ActivationBlock) == 48);

}  // namespace greta
