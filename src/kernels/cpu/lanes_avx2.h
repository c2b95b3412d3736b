#pragma once
// 16 lanes on AVX2 + FMA + F16C, as two halves of 8. Same names and bits as lanes_avx512.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/compiler.h"

#define GRETA_LANE static GRETA_INLINE

namespace greta::avx2 {

struct i32x16 {
  __m256i lo, hi;
};

struct f32x16 {
  __m256 lo, hi;
  f32x16() = default;
  GRETA_INLINE f32x16(__m256 a, __m256 b) : lo(a), hi(b) {}
  GRETA_INLINE explicit f32x16(float x) : lo(_mm256_set1_ps(x)), hi(_mm256_set1_ps(x)) {}
};

struct mask16 {
  __m256 lo, hi;  // all ones or all zeros per lane
};

GRETA_LANE mask16 first_lanes(int n) {
  const __m256i count = _mm256_set1_epi32(n);
  const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, low)),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, high))};
}
GRETA_LANE f32x16 select(mask16 m, f32x16 yes, f32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}

// Memory. The _n forms touch the first n lanes only (1 <= n <= 16).
GRETA_LANE f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
GRETA_LANE f32x16 load_n(const float* p, int n, float fill = 0) {
  const mask16 m = first_lanes(n);
  const f32x16 x{_mm256_maskload_ps(p, _mm256_castps_si256(m.lo)),
                 n > 8 ? _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.hi)) : _mm256_setzero_ps()};
  return select(m, x, f32x16(fill));
}
GRETA_LANE void store(float* p, f32x16 x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
GRETA_LANE void store_n(float* p, f32x16 x, int n) {
  const mask16 m = first_lanes(n);
  _mm256_maskstore_ps(p, _mm256_castps_si256(m.lo), x.lo);
  if (n > 8) _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.hi), x.hi);
}
GRETA_LANE __m128i load_16_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
GRETA_LANE i32x16 load_raw(const void* p) {
  const __m256i* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
GRETA_LANE void store_raw(void* p, i32x16 x) {
  __m256i* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, x.lo);
  _mm256_storeu_si256(q + 1, x.hi);
}
GRETA_LANE i32x16 broadcast_i32(const void* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  const __m256i v = _mm256_set1_epi32(x);
  return {v, v};
}
GRETA_LANE f32x16 broadcast(const float* p) {
  const __m256 v = _mm256_broadcast_ss(p);
  return {v, v};
}
GRETA_LANE f32x16 load_f16(const void* p) {
  const __m128i* q = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
GRETA_LANE f32x16 broadcast_f16(const void* p) {
  int16_t h;
  __builtin_memcpy(&h, p, 2);
  const __m256 v = _mm256_cvtph_ps(_mm_set1_epi16(h));
  return {v, v};
}
GRETA_LANE void store_f16(void* p, f32x16 x) {
  __m128i* q = static_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
}
GRETA_LANE void store_low8(void* p, i32x16 x) {
  alignas(64) int32_t wide[16];
  store_raw(wide, x);
  uint8_t* out = static_cast<uint8_t*>(p);
  for (int i = 0; i < 16; ++i) out[i] = wide[i];
}
GRETA_LANE void store_low16(void* p, i32x16 x) {
  alignas(64) int32_t wide[16];
  store_raw(wide, x);
  uint16_t* out = static_cast<uint16_t*>(p);
  for (int i = 0; i < 16; ++i) out[i] = wide[i];
}
/// 16 bytes as 16 lanes.
GRETA_LANE i32x16 load_u8(const void* p) {
  const __m128i bytes = load_16_bytes(p);
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}
GRETA_LANE i32x16 load_i8(const void* p) {
  const __m128i bytes = load_16_bytes(p);
  return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
}
/// Per byte of `index` (0 .. 15): the byte there in a table of 16.
GRETA_LANE i32x16 look_up(const uint8_t* table, i32x16 index) {
  const __m256i both = _mm256_broadcastsi128_si256(load_16_bytes(table));
  return {_mm256_shuffle_epi8(both, index.lo), _mm256_shuffle_epi8(both, index.hi)};
}
GRETA_LANE void prefetch(const void* p) { _mm_prefetch(p, _MM_HINT_T0); }

// Floats.
GRETA_LANE f32x16 operator+(f32x16 a, f32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
GRETA_LANE f32x16 operator-(f32x16 a, f32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
GRETA_LANE f32x16 operator*(f32x16 a, f32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
GRETA_LANE f32x16 operator/(f32x16 a, f32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
GRETA_LANE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
GRETA_LANE f32x16 sqrt(f32x16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
GRETA_LANE mask16 less(f32x16 a, f32x16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
GRETA_LANE mask16 is_number(f32x16 a) {
  return {_mm256_cmp_ps(a.lo, a.lo, _CMP_ORD_Q), _mm256_cmp_ps(a.hi, a.hi, _CMP_ORD_Q)};
}

// Integers.
GRETA_LANE i32x16 set_i32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
GRETA_LANE i32x16 operator+(i32x16 a, i32x16 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
GRETA_LANE i32x16 operator-(i32x16 a, i32x16 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
GRETA_LANE i32x16 operator&(i32x16 a, i32x16 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
GRETA_LANE i32x16 operator|(i32x16 a, i32x16 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
GRETA_LANE i32x16 operator^(i32x16 a, i32x16 b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
GRETA_LANE i32x16 max(i32x16 a, i32x16 b) {
  return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
template <int kBits>
GRETA_LANE i32x16 shl(i32x16 a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
GRETA_LANE i32x16 shr(i32x16 a) {  // zeros come in
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}
template <int kBits>
GRETA_LANE i32x16 sar(i32x16 a) {  // the sign comes in
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}

// Between the two.
GRETA_LANE i32x16 bits(f32x16 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
GRETA_LANE f32x16 from_bits(i32x16 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
GRETA_LANE i32x16 select(mask16 m, i32x16 yes, i32x16 no) {
  return bits(select(m, from_bits(yes), from_bits(no)));
}
GRETA_LANE f32x16 to_f32(i32x16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
GRETA_LANE i32x16 round_to_i32(f32x16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }

// Across lanes.
GRETA_LANE f32x16 dup_even(f32x16 a) { return {_mm256_moveldup_ps(a.lo), _mm256_moveldup_ps(a.hi)}; }
GRETA_LANE f32x16 dup_odd(f32x16 a) { return {_mm256_movehdup_ps(a.lo), _mm256_movehdup_ps(a.hi)}; }
GRETA_LANE f32x16 swap_pairs(f32x16 a) {
  return {_mm256_permute_ps(a.lo, 0xb1), _mm256_permute_ps(a.hi, 0xb1)};
}
GRETA_LANE f32x16 even_odd(f32x16 even, f32x16 odd) {
  return {_mm256_blend_ps(even.lo, odd.lo, 0xaa), _mm256_blend_ps(even.hi, odd.hi, 0xaa)};
}

/// ((l0 + l8) + (l4 + l12)) + ...: lanes l and l + 8 first, then 4, 2, 1 apart.
GRETA_LANE float sum_tree(f32x16 a) {
  const __m256 eight = _mm256_add_ps(a.lo, a.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
GRETA_LANE int32_t max_lane(i32x16 a) {
  const __m256i m = _mm256_max_epi32(a.lo, a.hi);
  __m128i n = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(n, _mm_shuffle_epi32(n, 0xb1)));
}
GRETA_LANE int32_t sum_lanes(i32x16 a) {
  const __m256i m = _mm256_add_epi32(a.lo, a.hi);
  __m128i n = _mm_add_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(n, _mm_shuffle_epi32(n, 0xb1)));
}

// vpmaddubsw saturates at 16 bits, so the unsigned byte's top bit goes alone:
// 2 * 127 * 127 and 2 * 128 * 127 fit.
GRETA_LANE __m256i dot4_half(__m256i acc, __m256i u, __m256i s) {
  const __m256i top = _mm256_and_si256(u, _mm256_set1_epi8(-128));
  const __m256i rest = _mm256_and_si256(u, _mm256_set1_epi8(127));
  const __m256i ones = _mm256_set1_epi16(1);
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(rest, s), ones));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(top, s), ones));
}
/// Per lane: acc + the dot product of 4 unsigned bytes with 4 signed bytes, exact.
/// Signed bytes are in -127..127.
GRETA_LANE i32x16 dot4(i32x16 acc, i32x16 u, i32x16 s) {
  return {dot4_half(acc.lo, u.lo, s.lo), dot4_half(acc.hi, u.hi, s.hi)};
}

GRETA_LANE __m256 abs_bits(__m256 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
GRETA_LANE __m256 flush(__m256 a) {  // subnormals to 0 of the same sign
  const __m256 tiny = _mm256_cmp_ps(abs_bits(a), _mm256_set1_ps(0x1p-126f), _CMP_LT_OQ);
  return _mm256_andnot_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), tiny), a);
}
// A result that is +-2^-126 only because subnormals are coarser there counts as subnormal. The sum is exact
// in double near that edge.
static __attribute__((noinline)) __m256 flush_edge(__m256 r, __m256 a, __m256 b, __m256 c) {
  alignas(32) float rs[8], as[8], bs[8], cs[8];
  _mm256_store_ps(rs, r), _mm256_store_ps(as, a), _mm256_store_ps(bs, b), _mm256_store_ps(cs, c);
  for (int i = 0; i < 8; ++i) {
    const double wide = as[i], exact = wide * bs[i] + cs[i];
    if (__builtin_fabsf(rs[i]) == 0x1p-126f && __builtin_fabs(exact) < 0x1p-126 - 0x1p-151) rs[i] *= 0.0f;
  }
  return _mm256_load_ps(rs);
}
GRETA_LANE __m256 fma_flush(__m256 a, __m256 b, __m256 c) {
  const __m256 r = _mm256_fmadd_ps(a, b, c);
  const __m256 edge = _mm256_cmp_ps(abs_bits(r), _mm256_set1_ps(0x1p-126f), _CMP_EQ_OQ);
  if (__builtin_expect(_mm256_movemask_ps(edge) != 0, 0)) return flush(flush_edge(r, a, b, c));
  return flush(r);
}
GRETA_LANE __m256 dot2_half(__m256 acc, __m256i a, __m256i b) {
  const __m256i high = _mm256_set1_epi32(~0xffff);
  acc = fma_flush(flush(_mm256_castsi256_ps(_mm256_and_si256(a, high))),
                  flush(_mm256_castsi256_ps(_mm256_and_si256(b, high))), flush(acc));
  return fma_flush(flush(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16))),
                   flush(_mm256_castsi256_ps(_mm256_slli_epi32(b, 16))), acc);
}
/// Per lane: acc + a pair of bf16 products as vdpbf16ps does it: fma of the high halves, then of the low
/// halves, subnormal inputs taken as 0 and subnormal results (after rounding) made 0.
GRETA_LANE f32x16 dot2_bf16(f32x16 acc, i32x16 a, i32x16 b) {
  return {dot2_half(acc.lo, a.lo, b.lo), dot2_half(acc.hi, a.hi, b.hi)};
}

// How many tokens (panels, queries, vectors) a register tile holds; no effect on the bits.
#ifndef GRETA_SANITIZED
inline constexpr int kInt8Tokens = 4;
inline constexpr int kInt8Panels = 1;
inline constexpr int kFloatTokens = 4;
inline constexpr int kFloatPanels = 1;
inline constexpr int kGemvPanels = 4;     // chains of a row, to hide the latency of FMAs
inline constexpr int kAttentionRows = 4;  // queries that share the reading of keys
inline constexpr int kAttentionSums = 4;  // score vectors kept in registers
inline constexpr int kMixRows = 2;        // queries that share the reading of values
inline constexpr int kMixVectors = 2;     // vectors of dims
#else                                     // instrumented large tiles take minutes to compile
inline constexpr int kInt8Tokens = 2;
inline constexpr int kInt8Panels = 1;
inline constexpr int kFloatTokens = 2;
inline constexpr int kFloatPanels = 1;
inline constexpr int kGemvPanels = 2;
inline constexpr int kAttentionRows = 2;
inline constexpr int kAttentionSums = 2;
inline constexpr int kMixRows = 2;
inline constexpr int kMixVectors = 2;
#endif

}  // namespace greta::avx2
