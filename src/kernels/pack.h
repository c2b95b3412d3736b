#pragma once
// Packed weights: one form of a weight serves both routes, both shapes and every ISA. Panels of 16 output
// rows; lanes are output rows; K is walked in order.
//
// A panel holds 16 output rows ("lanes") and all of K:
//   f32          per k: float w[16]
//   f16          per k: uint16 w[16]; K is padded to even with zeros
//   bf16         per pair of k: uint16 w[16][2]; K is padded to even with zeros
//   block types  per run of blocks of 32 k: the run's scales, then the codes of its blocks
//
// So a panel is one stream. All codes of a panel, then all its scales, would be two: decode of SmolLM2 on one
// thread made 336 to 342 tok/s that way, 404 to 420 this way.
//
// Codes of `bits` bits lie in planes: 2, 4 or 8 low bits, then the 1 or 2 that are left. Group g of a block
// is k = 4 g .. 4 g + 3. A plane of width w is w rows of uint8 [16 lanes][4 of k]; group g is in row g mod w,
// at bits w * (g / w) and up of its bytes. A block takes 64 * bits bytes.
//
// The value of a code u is d * (u - offset) (+ m), where u goes through a table of 16 levels first if the
// type has one, and d and m belong to a group of scales: the whole block, or each half of 16 k. Bits a
// weight, and the file's:
//            q4_0  q4_1  q5_0  q5_1  q8_0     q2_k   q3_k    q4_k   q5_k   q6_k      iq4_nl  iq4_xs  mxfp4
//   packed   4.5   5     5.5   6     8.5      2.625  3.5625  4.625  5.625  6.5625    4.5     4.3125  4.25
//   file     4.5   5     5.5   6     8.5      2.625  3.4375  4.5    5.5    6.5625    4.5     4.25    4.25

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/aligned.h"
#include "base/rounding.h"
#include "kernels/block_code.h"
#include "model/tensor.h"

namespace greta {

/// A weight matrix W[n, k] (n output rows), padded with zero rows to a multiple of 16.
struct PackedWeight {
  TensorType type = TensorType::f32;
  int64_t n = 0;
  int64_t k = 0;
  int64_t panel_bytes = 0;  // a multiple of 64
  RowOrder order = {};      // of the rows that it is packed from
  AlignedBytes bytes;       // packed_bytes() of them

  int64_t panels() const { return (n + kPanelRows - 1) / kPanelRows; }
  int64_t packed_bytes() const { return panels() * panel_bytes; }
  const std::byte* panel(int64_t index) const { return bytes.data() + index * panel_bytes; }
  std::byte* panel(int64_t index) { return bytes.data() + index * panel_bytes; }
};

/// True for the types that pack() takes.
bool can_pack(TensorType type);

/// Packs a weight as stored in a GGUF file. `rows` is row-major, blocks along K, exactly n * k / block *
/// bytes long. An input Error for a type that cannot be packed,
/// a K that is no multiple of the block, or another size.
PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k,
                  RowOrder order = {});

/// Row `row` of W as f32, exactly as the vector route dequantises it: out[k].
void unpack_row(const PackedWeight& weight, int64_t row, float* out);

/// The same in steps, so that threads can share the work and weights their memory: a weight, to which the
/// caller gives packed_bytes() of memory; then its panels, in any order. plan_pack fails on a type that
/// cannot be packed, on K that is no multiple of the type's block, and on a wrong size.
PackedWeight plan_pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k,
                       RowOrder order = {});
void pack_panels(PackedWeight& weight, std::span<const std::byte> rows, int64_t first_panel,
                 int64_t end_panel);

/// Bytes of one activation row of k values in a coarse format (Format::q8_block32, bf16, f16), padded to 64.
/// q8_block32: ActivationBlock[k / 32]. bf16, f16: uint16 x[k padded to even with 0], to nearest even.
int64_t activation_row_bytes(Format format, int64_t k);

}  // namespace greta
