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
#include "model/tensor_type.h"

namespace greta {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kBlock = 32;  // K elements per quantisation block

/// A weight matrix W[n, k] (n output rows), padded with zero rows to a multiple of 16.
struct PackedWeight {
  TensorType type = TensorType::f32;
  int64_t n = 0;
  int64_t k = 0;
  int64_t panel_bytes = 0;  // a multiple of 64
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
PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k);

/// Row `row` of W as f32, exactly as the vector route dequantises it: out[k].
void unpack_row(const PackedWeight& weight, int64_t row, float* out);

/// The same in steps, so that threads can share the work and weights their memory: a weight, to which the
/// caller gives packed_bytes() of memory; then its panels, in any order. plan_pack fails on a type that
/// cannot be packed, on K that is no multiple of the type's block, and on a wrong size.
PackedWeight plan_pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k);
void pack_panels(PackedWeight& weight, std::span<const std::byte> rows, int64_t first_panel,
                 int64_t end_panel);

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

/// Bytes of one activation row of k values in a quantised format (Format::q8_block32, bf16), padded to 64.
/// q8_block32: ActivationBlock[k / 32]. bf16: uint16 x[k padded to even with 0], round to nearest even.
int64_t activation_row_bytes(Format format, int64_t k);

}  // namespace greta
