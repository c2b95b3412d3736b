#pragma once
// The matrix unit over bytes, in three forms: 16 weight rows by kTokens tokens of a block of 32 k, as exact
// integer sums. The order of k inside such a sum is of no matter, so both vendors' lanes hold the same words:
// of a block's eight words of 4 k, the one at word() and the one four after it (the two halves of the block).
//   NVIDIA   mma.sync m16n8k16 and m16n8k32: 8 tokens, a lane has two weight rows; 2 x 2 outputs
//   CDNA 3   mfma_i32_16x16x32_i8: 16 tokens, a lane has one weight row; 4 x 1 outputs
//   CDNA 2   two mfma_i32_16x16x16i8 in its place

#include "kernels/gpu/lane.h"

namespace greta::gpu::GRETA_FORM {

inline constexpr bool kWide = kWave == 64;  // AMD's

struct IntTile {
  static constexpr int kTokens = kWave / 4;
  static constexpr int kRows = kWide ? 1 : 2;       // of weights that a lane feeds
  static constexpr int kOutRows = kWide ? 4 : 2;    // that it gets sums of,
  static constexpr int kOutTokens = kWide ? 1 : 2;  // by these tokens

  static GRETA_DEVICE int word() { return kWide ? lane_of_wave() / 16 & 3 : lane_of_wave() & 3; }
  static GRETA_DEVICE int row(int i) { return kWide ? lane_of_wave() % 16 : lane_of_wave() / 4 * 2 + i; }
  static GRETA_DEVICE int token() { return kWide ? lane_of_wave() % 16 : lane_of_wave() / 4; }
  static GRETA_DEVICE int out_row(int i) {
    return kWide ? lane_of_wave() / 16 * 4 + i : lane_of_wave() / 4 * 2 + i;
  }
  static GRETA_DEVICE int out_token(int i) {
    return kWide ? lane_of_wave() % 16 : lane_of_wave() % 4 * 2 + i;
  }
};

/// sum += weights x tokens of 16 k: a word of each of the lane's rows, and one of its token.
GRETA_DEVICE void multiply_half(int (&sum)[4], const int (&w)[IntTile::kRows], int x);
/// The same of 32 k.
GRETA_DEVICE void multiply_block(int (&sum)[4], const int (&low)[IntTile::kRows],
                                 const int (&high)[IntTile::kRows], int x_low, int x_high);

#if defined(__CUDACC__)

GRETA_DEVICE void multiply_half(int (&sum)[4], const int (&w)[2], int x) {
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(w[0]), "r"(w[1]), "r"(x));
}

GRETA_DEVICE void multiply_block(int (&sum)[4], const int (&low)[2], const int (&high)[2], int x_low,
                                 int x_high) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(low[0]), "r"(low[1]), "r"(high[0]), "r"(high[1]), "r"(x_low), "r"(x_high));
}

#elif defined(__HIP__)

using Sums = int __attribute__((ext_vector_type(4)));

GRETA_DEVICE int64_t pair(int first, int second) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(second)) << 32 |
                              static_cast<uint32_t>(first));
}

GRETA_DEVICE void multiply_block(int (&sum)[4], const int (&low)[1], const int (&high)[1], int x_low,
                                 int x_high) {
  Sums c = {sum[0], sum[1], sum[2], sum[3]};
#if defined(__gfx942__)
  c = __builtin_amdgcn_mfma_i32_16x16x32_i8(pair(low[0], high[0]), pair(x_low, x_high), c, 0, 0, 0);
#elif defined(__AMDGCN__)
  c = __builtin_amdgcn_mfma_i32_16x16x16i8(low[0], x_low, c, 0, 0, 0);
  c = __builtin_amdgcn_mfma_i32_16x16x16i8(high[0], x_high, c, 0, 0, 0);
#endif
  for (int i = 0; i < 4; ++i) sum[i] = c[i];
}

GRETA_DEVICE void multiply_half(int (&sum)[4], const int (&w)[1], int x) {
  const int none[1] = {0};
  multiply_block(sum, w, none, x, 0);
}

#else

/// Every lane shows what it holds; each then takes what its outputs need.
GRETA_DEVICE void multiply_half(int (&sum)[4], const int (&w)[IntTile::kRows], int x) {
  struct Shown {
    int w[IntTile::kRows], x;
  };
  Shown mine{{}, x};
  for (int i = 0; i < IntTile::kRows; ++i) mine.w[i] = w[i];
  const auto lanes = emulator::show<Shown, kWave>(mine);
  for (int i = 0; i < 4; ++i) {
    const int row = IntTile::out_row(i / IntTile::kOutTokens);
    const int token = IntTile::out_token(i % IntTile::kOutTokens);
    for (int word = 0; word < 4; ++word) {
      const Shown& of_row = lanes[static_cast<size_t>(kWide ? word * 16 + row : row / 2 * 4 + word)];
      const Shown& of_token = lanes[static_cast<size_t>(kWide ? word * 16 + token : token * 4 + word)];
      sum[i] = dot4(of_row.w[kWide ? 0 : row % 2], of_token.x, sum[i]);
    }
  }
}

GRETA_DEVICE void multiply_block(int (&sum)[4], const int (&low)[IntTile::kRows],
                                 const int (&high)[IntTile::kRows], int x_low, int x_high) {
  multiply_half(sum, low, x_low);
  multiply_half(sum, high, x_high);
}

#endif

}  // namespace greta::gpu::GRETA_FORM
