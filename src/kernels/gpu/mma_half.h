#pragma once
// The matrix unit over 16-bit floats, in three forms: 16 weight rows by kTokens tokens of 16 k, added to f32
// sums by the unit's own rule (units/instruction.h). All read k in the order in which it lies in memory.
//   NVIDIA   mma.sync m16n8k16: 8 tokens, a lane has two weight rows; 2 x 2 outputs. On Hopper a GEMM has
//            wgmma, whose chain over K has the same bits: four waves' rows by all tokens, from shared memory
//   CDNA     mfma_f32_16x16x16_bf16 (bf16_1k), _f16: 16 tokens, a lane has one weight row; 4 x 1 outputs

#include "kernels/gpu/gate.h"
#include "kernels/gpu/mma.h"

#if GRETA_HOPPER && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GRETA_WGMMA 1
#else
#define GRETA_WGMMA 0
#endif

namespace greta::gpu::GRETA_FORM {

/// Of 16 k a lane feeds two pairs: those of its weight rows, and of its token.
struct HalfTile {
  static constexpr int kTokens = kWave / 4;
  static constexpr int kRows = kWide ? 1 : 2;
  static constexpr int kOutRows = kWide ? 4 : 2, kOutTokens = kWide ? 1 : 2;
  static constexpr int kStepBytes = 16 * static_cast<int>(kPanelRows) * 2;  // of a panel

  static GRETA_DEVICE int pair(int i) {
    return kWide ? lane_of_wave() / 16 * 2 + i : lane_of_wave() % 4 + 4 * i;
  }
  static GRETA_DEVICE int row(int i) { return kWide ? lane_of_wave() % 16 : lane_of_wave() / 4 * 2 + i; }
  static GRETA_DEVICE int token() { return kWide ? lane_of_wave() % 16 : lane_of_wave() / 4; }
  static GRETA_DEVICE int out_row(int i) {
    return kWide ? lane_of_wave() / 16 * 4 + i : lane_of_wave() / 4 * 2 + i;
  }
  static GRETA_DEVICE int out_token(int i) {
    return kWide ? lane_of_wave() % 16 : lane_of_wave() % 4 * 2 + i;
  }
};

/// What a lane feeds of 16 k of a panel: words of pairs of k, for each of its rows.
using HalfWords = uint32_t[2][HalfTile::kRows];

template <TensorType kT>
GRETA_DEVICE void load_words(const std::byte* step, HalfWords& to) {
  constexpr int kPair = static_cast<int>(kPanelRows) * 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::byte* at = step + HalfTile::pair(i) * kPair;
    if constexpr (kWide) {
      at += HalfTile::row(0) * (kT == TensorType::bf16 ? 4 : 2);
      to[i][0] = kT == TensorType::bf16  // pairs lie together
                     ? load<uint32_t>(at)
                     : load<uint16_t>(at) | uint32_t{load<uint16_t>(at + kPair / 2)} << 16;
    } else {
      // Two words for two rows. Every other two lanes read them in the other order: so lanes meet in no bank.
      const bool turned = lane_of_wave() % 4 >= 2;
      constexpr int kApart = kT == TensorType::bf16 ? 4 : kPair / 2;
      at += HalfTile::row(0) * (kT == TensorType::bf16 ? 4 : 2);
      const uint32_t one = load<uint32_t>(at + (turned ? kApart : 0)),
                     other = load<uint32_t>(at + (turned ? 0 : kApart));
      const uint32_t first = turned ? other : one, second = turned ? one : other;
      if constexpr (kT == TensorType::bf16) {
        to[i][0] = first, to[i][HalfTile::kRows - 1] = second;
      } else {  // two rows of a k lie together
        to[i][0] = (first & 0xffff) | second << 16;
        to[i][HalfTile::kRows - 1] = first >> 16 | (second & 0xffff0000u);
      }
    }
  }
}

#if defined(__CUDACC__)

#define GRETA_MMA(type)                                                      \
  asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])               \
      : "r"(w[0][0]), "r"(w[0][1]), "r"(w[1][0]), "r"(w[1][1]), "r"(x[0]), "r"(x[1]))

/// sum += weights x tokens of 16 k.
template <TensorType kT>
GRETA_DEVICE void multiply(float (&sum)[4], const HalfWords& w, const uint32_t (&x)[2]) {
  if constexpr (kT == TensorType::bf16) {
    GRETA_MMA("bf16");
  } else {
    GRETA_MMA("f16");
  }
}
#undef GRETA_MMA

#elif defined(__HIP__)

using HalfSums = float __attribute__((ext_vector_type(4)));

template <TensorType kT>
GRETA_DEVICE void multiply(float (&sum)[4], const HalfWords& w, const uint32_t (&x)[2]) {
  HalfSums c = {sum[0], sum[1], sum[2], sum[3]};
#if defined(__AMDGCN__)
  using Bits = uint32_t __attribute__((ext_vector_type(2)));
  const Bits a = {w[0][0], w[1][0]}, b = {x[0], x[1]};
  if constexpr (kT == TensorType::bf16) {
    using Values = short __attribute__((ext_vector_type(4)));
    c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(Values, a),
                                                  __builtin_bit_cast(Values, b), c, 0, 0, 0);
  } else {
    using Values = _Float16 __attribute__((ext_vector_type(4)));
    c = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Values, a), __builtin_bit_cast(Values, b), c,
                                              0, 0, 0);
  }
#endif
  for (int i = 0; i < 4; ++i) sum[i] = c[i];
}

#else

/// Every lane shows what it holds; each then takes what its outputs need. The emulated card's own rule.
template <TensorType kT>
GRETA_DEVICE void multiply(float (&sum)[4], const HalfWords& w, const uint32_t (&x)[2]) {
  struct Shown {
    HalfWords w;
    uint32_t x[2];
  } mine;
  std::memcpy(mine.w, w, sizeof mine.w);
  std::memcpy(mine.x, x, sizeof mine.x);
  const auto lanes = emulator::show<Shown, kWave>(mine);
  const auto at = [&](int pair, int which) -> const Shown& {  // of a row, or of a token
    return lanes[static_cast<size_t>(kWide ? pair / 2 * 16 + which : which * 4 + pair % 4)];
  };
  for (int i = 0; i < 4; ++i) {
    const int row = HalfTile::out_row(i / HalfTile::kOutTokens);
    const int token = HalfTile::out_token(i % HalfTile::kOutTokens);
    uint32_t a[8], b[8];
    for (int pair = 0; pair < 8; ++pair) {
      const int word = kWide ? pair % 2 : pair / 4;
      a[pair] = at(pair, kWide ? row : row / 2).w[word][kWide ? 0 : row % 2];
      b[pair] = at(pair, token).x[word];
    }
    sum[i] = emulator::unit_sum(kT, a, b, sum[i]);
  }
}

#endif

/// A stage's tokens in shared memory: rows of 64 k, whose quads change places by row, so that lanes of eight
/// rows meet in no bank; as wgmma reads them.
GRETA_DEVICE int quad_place(int token, int quad) { return token * 128 + ((quad ^ (token % 8)) * 16); }

/// Sums of a wave's panel by all tokens of its work-group.
template <TensorType kT, int kTokens>
struct HalfProduct {
  static constexpr bool kRunsOn = GRETA_WGMMA;  // after it was asked for
  static constexpr int kTiles = kTokens / HalfTile::kTokens;
  float sum[kTiles][4];

  GRETA_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < 4 * kTiles; ++i) sum[i / 4][i % 4] = 0;
    wait<0>();
  }
  /// sum (or 0, where it begins) += 16 k of the panel by step `step` of the stage's tokens. On Hopper this
  /// only asks for it: operands and sums are not to be touched before wait().
  GRETA_DEVICE void add(const HalfWords& w, const SharedAt& x, int step, bool begins);
  static GRETA_DEVICE void open();
  static GRETA_DEVICE void close();  // what was asked for since open() is one batch
  /// For all batches but the last kBehind; with wait(), this product's sums may be read if those are not its.
  template <int kBehind>
  static GRETA_DEVICE void wait_behind();
  template <int kBehind>
  GRETA_DEVICE void wait();
};

#if GRETA_WGMMA

#define GRETA_SUM(t) "+f"(sum[t][0]), "+f"(sum[t][1]), "+f"(sum[t][2]), "+f"(sum[t][3])
#define GRETA_SUMS(t) GRETA_SUM(t), GRETA_SUM(t + 1), GRETA_SUM(t + 2), GRETA_SUM(t + 3)
#define GRETA_WGMMA_OF(type)                                                                                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." type \
               "." type                                                                                      \
               " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                    \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "            \
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "            \
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "           \
               "{%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}"                                                   \
               : GRETA_SUMS(0), GRETA_SUMS(4), GRETA_SUMS(8), GRETA_SUMS(12)                                 \
               : "r"(w[0][0]), "r"(w[0][1]), "r"(w[1][0]), "r"(w[1][1]), "l"(rows), "r"(begins ? 0 : 1))

template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::add(const HalfWords& w, const SharedAt& x, int step,
                                                bool begins) {
  static_assert(kTokens == 128);
  // Rows of 128 bytes, eight of them after 1024, quads swapped by row; the step's 16 k are 32 bytes on.
  const uint64_t rows = uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 16 |
                        ((x.address + 32 * static_cast<uint32_t>(step)) >> 4 & 0x3fff);
  if constexpr (kT == TensorType::bf16) {
    GRETA_WGMMA_OF("bf16");
  } else {
    GRETA_WGMMA_OF("f16");
  }
}
#undef GRETA_WGMMA_OF
template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::open() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::close() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <TensorType kT, int kTokens>
template <int kBehind>
GRETA_DEVICE void HalfProduct<kT, kTokens>::wait_behind() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kBehind) : "memory");
}
template <TensorType kT, int kTokens>
template <int kBehind>
GRETA_DEVICE void HalfProduct<kT, kTokens>::wait() {
  asm volatile("wgmma.wait_group.sync.aligned %64;"
               : GRETA_SUMS(0), GRETA_SUMS(4), GRETA_SUMS(8), GRETA_SUMS(12)
               : "n"(kBehind)
               : "memory");
}
#undef GRETA_SUMS
#undef GRETA_SUM

/// Of 384 threads, 256 multiply and the others copy.
GRETA_DEVICE void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 232;"); }
GRETA_DEVICE void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 40;"); }

#else

template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::add(const HalfWords& w, const SharedAt& x, int step,
                                                bool begins) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    uint32_t words[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int pair = HalfTile::pair(i);
      words[i] = load<uint32_t>(x.bytes +
                                quad_place(t * HalfTile::kTokens + HalfTile::token(), 2 * step + pair / 4) +
                                pair % 4 * 4);
    }
    if (begins) sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = 0;
    multiply<kT>(sum[t], w, words);
  }
}
template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::open() {}
template <TensorType kT, int kTokens>
GRETA_DEVICE void HalfProduct<kT, kTokens>::close() {}
template <TensorType kT, int kTokens>
template <int kBehind>
GRETA_DEVICE void HalfProduct<kT, kTokens>::wait_behind() {}
template <TensorType kT, int kTokens>
template <int kBehind>
GRETA_DEVICE void HalfProduct<kT, kTokens>::wait() {}
GRETA_DEVICE void more_registers() {}
GRETA_DEVICE void fewer_registers() {}

#endif

}  // namespace greta::gpu::GRETA_FORM
