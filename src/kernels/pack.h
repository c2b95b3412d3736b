#pragma once
// Packed weights: one form of a weight serves both routes, both shapes and every ISA. Panels of 16 output
// rows; lanes are output rows; K is walked in order.

//
// A panel holds 16 output rows ("lanes") and all of K:
//   f32      per k: float w[16]
//   f16      per k: uint16 w[16]; K is padded to even with zeros
//   bf16     per pair of k: uint16 w[16][2]; K is padded to even with zeros
//   q*       codes of every block of 32 k, then the scales of every block.
//            The value of a code u is d * (u - offset) (+ m), with d and m in the file's f16.
//            u8 codes (q8_0: u = q + 128):     per group of 4 k: uint8 u[16][4]; 8 groups
//            u4 codes (q4_0, q4_1):            64-byte rows j = 0..3: low nibble as group j, high nibble as
//            group j + 4 u5 codes (q5_0, q5_1):            the low 4 bits as u4; then uint32 h[16]: bit j of
//            byte i is the fifth bit
//                                              of k = 4 j + i
//            scales of a block: uint16 d[16], then uint16 m[16] where the type has a minimum

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/aligned.h"
#include "base/rounding.h"
#include "model/tensor_type.h"

namespace greta {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kBlock = 32;  // K elements per quantisation block

/// A weight matrix W[n, k] (n output rows), padded with zero rows to a multiple of 16.
struct PackedWeight {
  TensorType type = TensorType::f32;
  int64_t n = 0;
  int64_t k = 0;
  int64_t panel_bytes = 0;
  AlignedBytes bytes;  // 64-byte aligned

  int64_t panels() const { return (n + kPanelRows - 1) / kPanelRows; }
  const std::byte* panel(int64_t index) const { return bytes.data() + index * panel_bytes; }
  std::byte* panel(int64_t index) { return bytes.data() + index * panel_bytes; }
};

/// True for the types that pack() takes.
bool can_pack(TensorType type);

/// Packs a weight as stored in a GGUF file. `rows` is row-major, blocks along K, exactly n * k / block *
/// bytes long. An input Error for a type that cannot be packed, a K that is no multiple of the block, or
/// another size.
PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k);

/// Row `row` of W as f32, exactly as the vector route dequantises it: out[k].
void unpack_row(const PackedWeight& weight, int64_t row, float* out);

/// The same in two steps, so that threads can share the work: an allocated weight, then its panels in any
/// order. plan_pack fails on a type that cannot be packed, on K that is no multiple of the type's block, and
/// on a wrong size.
PackedWeight plan_pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k);
void pack_panels(PackedWeight& weight, std::span<const std::byte> rows, int64_t first_panel,
                 int64_t end_panel);

/// How the codes of a block of 32 weights stand for values: d * (u - offset) (+ m).
struct BlockCode {
  int bits = 0;  // 4, 5 or 8; 0: not a block type
  int offset = 0;
  bool has_min = false;
};
BlockCode block_code(TensorType type);

/// One block of 32 activations in Format::q8_block32: value q[i] * d. With a = the largest magnitude of the
/// block:
///   d = a / 127;  q = x / d rounded to nearest even, at most +-127 (0 where d is 0);  both divisions in f32;
///   sum = the sum of q;  s = d * sum, in f32.
/// A NaN or an infinity in the block makes d NaN or infinite, so that no product hides it.
struct ActivationBlock {
  int8_t q[32];
  float d;
  float s;
  int32_t sum;
  int32_t pad;  // 0
};
static_assert(sizeof(ActivationBlock) == 48);

/// Bytes of one activation row of k values in a quantised format (Format::q8_block32, bf16), padded to 64.
/// q8_block32: ActivationBlock[k / 32]. bf16: uint16 x[k padded to even with 0], round to nearest even.
int64_t activation_row_bytes(Format format, int64_t k);

}  // namespace greta
