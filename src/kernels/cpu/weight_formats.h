// The packed weight formats (layouts in kernels/pack.h) as the matmul kernels read them.

#include "kernels/cpu/common.h"

namespace greta::GRETA_ISA {
namespace {

/// Codes of a block of 32 k as 8 vectors: vector g has, per lane, the codes of k = 4 g .. 4 g + 3 as bytes.
template <int kBits>
struct Codes;

template <>
struct Codes<4> {
  static constexpr int kBytes = 256;
  static inline __attribute__((always_inline)) void load(const std::byte* p, i32x16 (&w)[8]) {
    const i32x16 nibble = set_i32(0x0f0f0f0f);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const i32x16 both = load_raw(p + 64 * j);
      w[j] = both & nibble;
      w[j + 4] = shr<4>(both) & nibble;
    }
  }
};

template <>
struct Codes<5> {
  static constexpr int kBytes = 320;
  static inline __attribute__((always_inline)) void load(const std::byte* p, i32x16 (&w)[8]) {
    Codes<4>::load(p, w);
    const i32x16 h = load_raw(p + 256), bit = set_i32(0x10101010);
    w[0] = w[0] | (shl<4>(h) & bit);
    w[1] = w[1] | (shl<3>(h) & bit);
    w[2] = w[2] | (shl<2>(h) & bit);
    w[3] = w[3] | (shl<1>(h) & bit);
    w[4] = w[4] | (h & bit);
    w[5] = w[5] | (shr<1>(h) & bit);
    w[6] = w[6] | (shr<2>(h) & bit);
    w[7] = w[7] | (shr<3>(h) & bit);
  }
};

template <>
struct Codes<8> {
  static constexpr int kBytes = 512;
  static inline __attribute__((always_inline)) void load(const std::byte* p, i32x16 (&w)[8]) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) w[j] = load_raw(p + 64 * j);
  }
};

/// A family of block formats: value = d * (u - 2^kLogOffset), or d * u + m.
template <TensorType kT, int kBits, int kLogOffset>
struct BlockWeight {
  static constexpr TensorType kType = kT;
  static constexpr bool kHasMin = kLogOffset == 0;
  static constexpr int kOffsetShift = kLogOffset;
  static constexpr int kScaleBytes = kHasMin ? 64 : 32;
  using CodesOf = Codes<kBits>;

  /// Chunk [k0, k1) of a panel as f32, [k][16]; both are multiples of 32.
  static inline __attribute__((always_inline)) const float* dequantise(const std::byte* panel, int64_t k,
                                                                       int64_t k0, int64_t k1, float* out) {
    const std::byte* scales = panel + k / kBlock * CodesOf::kBytes;
    float* to = out;
    for (int64_t b = k0 / kBlock; b < k1 / kBlock; ++b, to += kBlock * 16) {
      i32x16 w[8];
      CodesOf::load(panel + b * CodesOf::kBytes, w);
      const f32x16 d = load_f16(scales + b * kScaleBytes);
      f32x16 m(0.0f);
      if constexpr (kHasMin) m = load_f16(scales + b * kScaleBytes + 32);
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        store(to + 64 * g, value(w[g] & set_i32(255), d, m));
        store(to + 64 * g + 16, value(shr<8>(w[g]) & set_i32(255), d, m));
        store(to + 64 * g + 32, value(shr<16>(w[g]) & set_i32(255), d, m));
        store(to + 64 * g + 48, value(shr<24>(w[g]), d, m));
      }
    }
    return out;
  }

 private:
  // d * u has at most 19 bits: exact, so that the FMA rounds as d * u + m does.
  static inline __attribute__((always_inline)) f32x16 value(i32x16 u, f32x16 d, f32x16 m) {
    if constexpr (kHasMin) return fma(to_f32(u), d, m);
    return (to_f32(u) - f32x16(static_cast<float>(1 << kLogOffset))) * d;
  }
};

struct F32Weight {
  static constexpr TensorType kType = TensorType::f32;
  static inline __attribute__((always_inline)) const float* dequantise(const std::byte* panel, int64_t,
                                                                       int64_t k0, int64_t, float*) {
    return reinterpret_cast<const float*>(panel) + k0 * 16;
  }
};

struct F16Weight {
  static constexpr TensorType kType = TensorType::f16;
  static inline __attribute__((always_inline)) const float* dequantise(const std::byte* panel, int64_t,
                                                                       int64_t k0, int64_t k1, float* out) {
    for (int64_t k = k0; k < k1; ++k) store(out + (k - k0) * 16, load_f16(panel + k * 32));
    return out;
  }
};

struct Bf16Weight {
  static constexpr TensorType kType = TensorType::bf16;
  static inline __attribute__((always_inline)) const float* dequantise(const std::byte* panel, int64_t,
                                                                       int64_t k0, int64_t k1, float* out) {
    for (int64_t k = k0; k < k1; k += 2) {  // k0 is even; `out` has room for an even count
      const i32x16 pair = load_raw(panel + k * 32);
      store(out + (k - k0) * 16, from_bits(shl<16>(pair)));
      store(out + (k - k0) * 16 + 16, from_bits(pair & set_i32(static_cast<int32_t>(0xffff0000u))));
    }
    return out;
  }
};

using Q4_0 = BlockWeight<TensorType::q4_0, 4, 3>;
using Q4_1 = BlockWeight<TensorType::q4_1, 4, 0>;
using Q5_0 = BlockWeight<TensorType::q5_0, 5, 4>;
using Q5_1 = BlockWeight<TensorType::q5_1, 5, 0>;
using Q8_0 = BlockWeight<TensorType::q8_0, 8, 7>;

/// What part `part` computes of out [rows, 16 * panels].
struct Share {
  int64_t panel_begin, panel_end, row_begin, row_end;
};

/// Whole panels for each thread, or whole tiles of rows where that spreads more evenly. No output is split,
/// so the choice cannot change a bit.
inline __attribute__((always_inline)) Share share(Part part, int64_t panels, int64_t rows, int64_t tile) {
  const int64_t tiles = (rows + tile - 1) / tile;
  const int64_t panels_each = (panels + part.count - 1) / part.count,
                tiles_each = (tiles + part.count - 1) / part.count;
  if (panels_each * tiles <= tiles_each * panels) {
    return {panels * part.index / part.count, panels * (part.index + 1) / part.count, 0, rows};
  }
  return {0, panels, smaller(rows, tiles * part.index / part.count * tile),
          smaller(rows, tiles * (part.index + 1) / part.count * tile)};
}

}  // namespace
}  // namespace greta::GRETA_ISA
