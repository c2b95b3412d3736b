#pragma once
// Packed weights: one form of a weight serves both routes, both shapes and every ISA. Panels of 16 output rows;
// lanes are output rows; K is walked in order.

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

/// Packs a weight as stored in a GGUF file. `rows` is row-major, blocks along K, exactly n * k / block * bytes long.
PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k);

/// Row `row` of W as f32, exactly as the vector route dequantises it: out[k].
void unpack_row(const PackedWeight& weight, int64_t row, float* out);

/// Bytes of one activation row of k values in a quantised format (Format::q8_block32, bf16), padded to 64.
/// q8_block32: int8 q[k padded to 32]; then float d[k/32], then float s[k/32] with s = d * sum(q of the block).
/// bf16: uint16 x[k padded to 2].
int64_t activation_row_bytes(Format format, int64_t k);

}  // namespace greta
