#pragma once
// 16 lanes as plain arrays: the reference that AVX-512 and AVX2 must equal bit for bit.
// Same names as lanes_avx512.h.

#include <cstddef>
#include <cstdint>

#include "base/half.h"

#ifndef GRETA_SANITIZED
#define GRETA_LANE static inline
#else  // instrumented and inlined sixteen times over, these take minutes to compile
#define GRETA_LANE static __attribute__((noinline, unused))
#endif

namespace greta::scalar {

struct i32x16 {
  int32_t v[16];
};

struct f32x16 {
  float v[16];
  f32x16() = default;
  explicit f32x16(float x) {
    for (float& lane : v) lane = x;
  }
};

struct mask16 {
  bool v[16];
};

template <class Out, class Lane>
GRETA_LANE Out each(Lane lane) {
  Out out;
  for (int i = 0; i < 16; ++i) out.v[i] = lane(i);
  return out;
}

// Memory. The _n forms touch the first n lanes only (1 <= n <= 16).
GRETA_LANE f32x16 load(const float* p) {
  return each<f32x16>([=](int i) { return p[i]; });
}
GRETA_LANE f32x16 load_n(const float* p, int n, float fill = 0) {
  return each<f32x16>([=](int i) { return i < n ? p[i] : fill; });
}
GRETA_LANE void store_n(float* p, const f32x16& x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x.v[i];
}
GRETA_LANE void store(float* p, const f32x16& x) { store_n(p, x, 16); }
GRETA_LANE i32x16 load_raw(const void* p) {
  i32x16 out;
  __builtin_memcpy(out.v, p, 64);
  return out;
}
GRETA_LANE i32x16 set_i32(int32_t x) {
  return each<i32x16>([=](int) { return x; });
}
GRETA_LANE i32x16 broadcast_i32(const void* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  return set_i32(x);
}
GRETA_LANE f32x16 broadcast(const float* p) { return f32x16(*p); }
GRETA_LANE f32x16 load_f16(const void* p) {
  uint16_t h[16];
  __builtin_memcpy(h, p, 32);
  return each<f32x16>([&](int i) { return f16_to_f32(h[i]); });
}
GRETA_LANE f32x16 broadcast_f16(const void* p) {
  uint16_t h;
  __builtin_memcpy(&h, p, 2);
  return f32x16(f16_to_f32(h));
}
GRETA_LANE void store_f16(void* p, const f32x16& x) {
  uint16_t* out = static_cast<uint16_t*>(p);
  for (int i = 0; i < 16; ++i) out[i] = f32_to_f16(x.v[i]);
}
GRETA_LANE void store_low8(void* p, const i32x16& x) {
  uint8_t* out = static_cast<uint8_t*>(p);
  for (int i = 0; i < 16; ++i) out[i] = x.v[i];
}
GRETA_LANE void store_low16(void* p, const i32x16& x) {
  uint16_t* out = static_cast<uint16_t*>(p);
  for (int i = 0; i < 16; ++i) out[i] = x.v[i];
}
GRETA_LANE void store_raw(void* p, const i32x16& x) { __builtin_memcpy(p, x.v, 64); }
/// 16 bytes as 16 lanes.
GRETA_LANE i32x16 load_u8(const void* p) {
  const uint8_t* bytes = static_cast<const uint8_t*>(p);
  return each<i32x16>([=](int i) { return bytes[i]; });
}
GRETA_LANE i32x16 load_i8(const void* p) {
  const int8_t* bytes = static_cast<const int8_t*>(p);
  return each<i32x16>([=](int i) { return bytes[i]; });
}
/// Per byte of `index` (0 .. 15): the byte there in a table of 16.
GRETA_LANE i32x16 look_up(const uint8_t* table, const i32x16& index) {
  uint8_t bytes[64];
  __builtin_memcpy(bytes, index.v, 64);
  for (uint8_t& byte : bytes) byte = table[byte & 15];
  i32x16 out;
  __builtin_memcpy(out.v, bytes, 64);
  return out;
}
GRETA_LANE void prefetch(const void*) {}

// Floats.
GRETA_LANE f32x16 operator+(const f32x16& a, const f32x16& b) {
  return each<f32x16>([&](int i) { return a.v[i] + b.v[i]; });
}
GRETA_LANE f32x16 operator-(const f32x16& a, const f32x16& b) {
  return each<f32x16>([&](int i) { return a.v[i] - b.v[i]; });
}
GRETA_LANE f32x16 operator*(const f32x16& a, const f32x16& b) {
  return each<f32x16>([&](int i) { return a.v[i] * b.v[i]; });
}
GRETA_LANE f32x16 operator/(const f32x16& a, const f32x16& b) {
  return each<f32x16>([&](int i) { return a.v[i] / b.v[i]; });
}
GRETA_LANE f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) {
  return each<f32x16>([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
GRETA_LANE f32x16 sqrt(const f32x16& a) {
  return each<f32x16>([&](int i) { return __builtin_sqrtf(a.v[i]); });
}
GRETA_LANE mask16 less(const f32x16& a, const f32x16& b) {
  return each<mask16>([&](int i) { return a.v[i] < b.v[i]; });
}
GRETA_LANE mask16 is_number(const f32x16& a) {
  return each<mask16>([&](int i) { return a.v[i] == a.v[i]; });
}
GRETA_LANE mask16 first_lanes(int n) {
  return each<mask16>([=](int i) { return i < n; });
}
GRETA_LANE f32x16 select(const mask16& m, const f32x16& yes, const f32x16& no) {
  return each<f32x16>([&](int i) { return m.v[i] ? yes.v[i] : no.v[i]; });
}

// Integers.
/// f(a, b) of each lane as unsigned numbers: they wrap as the vector instructions do.
template <class F>
GRETA_LANE i32x16 wrapping(const i32x16& a, const i32x16& b, F f) {
  return each<i32x16>([&](int i) {
    const uint32_t x = a.v[i], y = b.v[i];
    return f(x, y);
  });
}
GRETA_LANE i32x16 operator+(const i32x16& a, const i32x16& b) {
  return wrapping(a, b, [](uint32_t x, uint32_t y) { return x + y; });
}
GRETA_LANE i32x16 operator-(const i32x16& a, const i32x16& b) {
  return wrapping(a, b, [](uint32_t x, uint32_t y) { return x - y; });
}
GRETA_LANE i32x16 operator&(const i32x16& a, const i32x16& b) {
  return each<i32x16>([&](int i) { return a.v[i] & b.v[i]; });
}
GRETA_LANE i32x16 operator|(const i32x16& a, const i32x16& b) {
  return each<i32x16>([&](int i) { return a.v[i] | b.v[i]; });
}
GRETA_LANE i32x16 operator^(const i32x16& a, const i32x16& b) {
  return each<i32x16>([&](int i) { return a.v[i] ^ b.v[i]; });
}
GRETA_LANE i32x16 max(const i32x16& a, const i32x16& b) {
  return each<i32x16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
template <int kBits>
GRETA_LANE i32x16 shl(const i32x16& a) {
  return wrapping(a, a, [](uint32_t x, uint32_t) { return x << kBits; });
}
template <int kBits>
GRETA_LANE i32x16 shr(const i32x16& a) {  // zeros come in
  return wrapping(a, a, [](uint32_t x, uint32_t) { return x >> kBits; });
}
template <int kBits>
GRETA_LANE i32x16 sar(const i32x16& a) {  // the sign comes in
  return each<i32x16>([&](int i) { return a.v[i] >> kBits; });
}
GRETA_LANE i32x16 select(const mask16& m, const i32x16& yes, const i32x16& no) {
  return each<i32x16>([&](int i) { return m.v[i] ? yes.v[i] : no.v[i]; });
}

// Between the two.
GRETA_LANE i32x16 bits(const f32x16& a) { return __builtin_bit_cast(i32x16, a); }
GRETA_LANE f32x16 from_bits(const i32x16& a) {
  return each<f32x16>([&](int i) { return __builtin_bit_cast(float, a.v[i]); });
}
GRETA_LANE f32x16 to_f32(const i32x16& a) {
  return each<f32x16>([&](int i) { return a.v[i]; });
}
GRETA_LANE i32x16 round_to_i32(const f32x16& a) {  // |a| < 2^22: callers clamp
  return each<i32x16>([&](int i) { return (a.v[i] + 0x1.8p23f) - 0x1.8p23f; });
}

// Across lanes.
GRETA_LANE f32x16 dup_even(const f32x16& a) {
  return each<f32x16>([&](int i) { return a.v[i & ~1]; });
}
GRETA_LANE f32x16 dup_odd(const f32x16& a) {
  return each<f32x16>([&](int i) { return a.v[i | 1]; });
}
GRETA_LANE f32x16 swap_pairs(const f32x16& a) {
  return each<f32x16>([&](int i) { return a.v[i ^ 1]; });
}
GRETA_LANE f32x16 even_odd(const f32x16& even, const f32x16& odd) {
  return each<f32x16>([&](int i) { return i % 2 == 0 ? even.v[i] : odd.v[i]; });
}

/// ((l0 + l8) + (l4 + l12)) + ...: lanes l and l + 8 first, then 4, 2, 1 apart.
GRETA_LANE float sum_tree(f32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}
GRETA_LANE int32_t max_lane(const i32x16& a) {
  int32_t most = a.v[0];
  for (int32_t x : a.v) most = x > most ? x : most;
  return most;
}
GRETA_LANE int32_t sum_lanes(const i32x16& a) {
  int32_t sum = 0;
  for (int32_t x : a.v) sum += x;
  return sum;
}

/// Per lane: acc + the dot product of 4 unsigned bytes with 4 signed bytes, exact.
/// Signed bytes are in -127..127.
GRETA_LANE i32x16 dot4(i32x16 acc, const i32x16& u, const i32x16& s) {
  uint8_t us[64];
  int8_t ss[64];
  __builtin_memcpy(us, u.v, 64);
  __builtin_memcpy(ss, s.v, 64);
  for (int i = 0; i < 64; ++i) acc.v[i / 4] += us[i] * ss[i];
  return acc;
}

GRETA_LANE float flush(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
// A result that is +-2^-126 only because subnormals are coarser there counts as subnormal. The sum is exact
// in double near that edge.
GRETA_LANE float fma_flush(float a, float b, float c) {
  const float r = __builtin_fmaf(a, b, c);
  const double wide = a, exact = wide * b + c;
  if (__builtin_fabsf(r) == 0x1p-126f && __builtin_fabs(exact) < 0x1p-126 - 0x1p-151) {
    return __builtin_copysignf(0.0f, r);
  }
  return flush(r);
}
/// Per lane: acc + a pair of bf16 products as vdpbf16ps does it: fma of the high halves, then of the low
/// halves, subnormal inputs taken as 0 and subnormal results (after rounding) made 0.
GRETA_LANE f32x16 dot2_bf16(const f32x16& acc, const i32x16& a, const i32x16& b) {
  return each<f32x16>([&](int i) {
    const uint32_t x = a.v[i], y = b.v[i];
    const auto high = [](uint32_t w) { return flush(__builtin_bit_cast(float, w & 0xffff0000u)); };
    const float first = fma_flush(high(x), high(y), flush(acc.v[i]));
    return fma_flush(high(x << 16), high(y << 16), first);
  });
}

// Register tiles of one: this build is the reference, and larger ones only cost compile time.
inline constexpr int kInt8Tokens = 1;
inline constexpr int kInt8Panels = 1;
inline constexpr int kFloatTokens = 1;
inline constexpr int kFloatPanels = 1;
inline constexpr int kGemvPanels = 1;
inline constexpr int kAttentionRows = 1;
inline constexpr int kAttentionSums = 1;
inline constexpr int kMixRows = 1;
inline constexpr int kMixVectors = 1;

}  // namespace greta::scalar
