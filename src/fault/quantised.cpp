// Blocks of quantised weights decoded wrongly: the same kernel runs on blocks with other bytes.
// A block is d [, m][, fifth bits], codes (numerics and kernels have their own decoders; this file edits).

#include <cstring>

#include "base/half.h"
#include "fault/bank.h"
#include "fault/matrix.h"

namespace greta {
namespace {

constexpr int64_t kCodeBytes4 = 16;  // of 32 four-bit codes, at the block's end

uint16_t read_half(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return bits;
}

void write_half(std::byte* p, uint16_t bits) { std::memcpy(p, &bits, 2); }

void swap_nibbles(const BlockRow& row) {
  for (int64_t b = 0; b < row.blocks; ++b) {
    std::byte* codes = row.block(b) + row.block_bytes - kCodeBytes4;
    for (int64_t i = 0; i < kCodeBytes4; ++i) codes[i] = codes[i] >> 4 | codes[i] << 4;
  }
}

/// The block's minimum as Q4_0 has it: code 8 stands for 0.
void centre_codes(const BlockRow& row) {
  for (int64_t b = 0; b < row.blocks; ++b) {
    write_half(row.block(b) + 2, f32_to_f16(-8 * f16_to_f32(read_half(row.block(b)))));
  }
}

void drop_minimum(const BlockRow& row) {
  for (int64_t b = 0; b < row.blocks; ++b) write_half(row.block(b) + 2, 0);
}

void take_next_scale(const BlockRow& row) {
  for (int64_t b = 0; b + 1 < row.blocks; ++b) write_half(row.block(b), read_half(row.block(b + 1)));
}

void take_next_minimum(const BlockRow& row) {
  for (int64_t b = 0; b + 1 < row.blocks; ++b) write_half(row.block(b) + 2, read_half(row.block(b + 1) + 2));
}

void take_even_codes(const BlockRow& row) {
  for (int64_t b = 1; b < row.blocks; b += 2) {
    const int64_t codes = row.block_bytes - kCodeBytes4;
    std::memcpy(row.block(b) + codes, row.block(b - 1) + codes, kCodeBytes4);
  }
}

/// Bit 11 of the half is the exponent's second: the scale is 4 times or a quarter of what it was.
void flip_scale_bit(const BlockRow& row) {
  for (int64_t b = 0; b < row.blocks; ++b) {
    if (noise_at(static_cast<uint64_t>(row.row * row.blocks + b)) > -0.9) continue;  // 1 block in 20
    write_half(row.block(b), static_cast<uint16_t>(read_half(row.block(b)) ^ 0x0800u));
  }
}

}  // namespace

FaultList quantised_faults() {
  const std::string nibbles = kGitHub + "kekzl/imp/pull/722";
  const std::string stride = kGitHub + "1bit-MONSTER/1bit-MONSTER/issues/153";
  const std::string zero = kGitHub + "ROCm/hip-ep/pull/134", layout = kGitHub + "paiml/aprender/pull/2127";
  const MakeWrong swapped = edited_blocks(BlockTypes::four_bit, swap_nibbles);
  const MakeWrong centred = edited_blocks(BlockTypes::q4_1, centre_codes);
  const MakeWrong dropped = edited_blocks(BlockTypes::q4_1, drop_minimum);
  const MakeWrong next = edited_blocks(BlockTypes::quantised, take_next_scale);
  const MakeWrong even = edited_blocks(BlockTypes::four_bit, take_even_codes);
  return {
      {"wq_nibbles", "nibble_order", Stage::q, "low and high nibbles of Wq's codes swapped", nibbles,
       "nibble_order", swapped},
      {"w_gate_nibbles", "nibble_order", Stage::gate, "low and high nibbles of W_gate's codes swapped",
       nibbles, "nibble_order", swapped},
      {"w_up_zero_point", "zero_point", Stage::up, "W_up's Q4_1 is read as Q4_0: code 8 is zero", zero,
       "zero_point", centred},
      {"wo_zero_point", "zero_point", Stage::attn_out, "Wo's Q4_1 is read as Q4_0: code 8 is zero", zero,
       "zero_point", centred},
      {"w_down_no_mins", "mins_dropped", Stage::down, "W_down's block minima are dropped", layout,
       "mins_dropped", dropped},
      {"wv_no_mins", "mins_dropped", Stage::v, "Wv's block minima are dropped", layout, "mins_dropped",
       dropped},
      {"wk_next_scale", "neighbour_scale", Stage::k, "a block of Wk takes the next block's scale", stride,
       "neighbour_scale", next},
      {"output_next_scale", "neighbour_scale", Stage::logits,
       "a block of the output weight takes the next's scale", stride, "neighbour_scale", next},
      {"w_up_next_min", "neighbour_scale", Stage::up, "a block of W_up takes the next block's minimum",
       stride, "neighbour_scale", edited_blocks(BlockTypes::q4_1, take_next_minimum)},
      {"wq_group_stride", "group_stride", Stage::q, "odd blocks of Wq take the codes of the even ones",
       stride, "group_stride", even},
      {"w_gate_group_stride", "group_stride", Stage::gate,
       "odd blocks of W_gate take the codes of the even ones", stride, "group_stride", even},
      {"w_down_scale_bits", "scale_bits", Stage::down, "one bit of the scale is flipped in 1 of 20 blocks",
       kMadeUp, "", edited_blocks(BlockTypes::quantised, flip_scale_bit)},
  };
}

}  // namespace greta
