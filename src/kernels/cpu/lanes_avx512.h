#pragma once
// 16 lanes on AVX-512 (F, BW, DQ, VL). dot4 needs VNNI and dot2_bf16 needs BF16: only the files compiled with
// those flags use them. lanes_avx2.h and lanes_scalar.h have the same names with the same bits.
//
// Everything is inlined, so that no symbol with wide instructions leaves a file compiled for one ISA.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/compiler.h"

#define GRETA_LANE static GRETA_INLINE

namespace greta::avx512 {

struct i32x16 {
  __m512i v;
};

struct f32x16 {
  __m512 v;
  f32x16() = default;
  GRETA_INLINE f32x16(__m512 x) : v(x) {}
  GRETA_INLINE explicit f32x16(float x) : v(_mm512_set1_ps(x)) {}
};

struct mask16 {
  __mmask16 v;
};

GRETA_LANE __mmask16 first(int n) { return (1u << n) - 1u; }

// Memory. The _n forms touch the first n lanes only (1 <= n <= 16).
GRETA_LANE f32x16 load(const float* p) { return _mm512_loadu_ps(p); }
GRETA_LANE f32x16 load_n(const float* p, int n, float fill = 0) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(n), p);
}
GRETA_LANE void store(float* p, f32x16 x) { _mm512_storeu_ps(p, x.v); }
GRETA_LANE void store_n(float* p, f32x16 x, int n) { _mm512_mask_storeu_ps(p, first(n), x.v); }
GRETA_LANE i32x16 load_raw(const void* p) { return {_mm512_loadu_si512(p)}; }
GRETA_LANE i32x16 broadcast_i32(const void* p) {
  int32_t x;
  __builtin_memcpy(&x, p, 4);
  return {_mm512_set1_epi32(x)};
}
GRETA_LANE f32x16 broadcast(const float* p) { return _mm512_set1_ps(*p); }
GRETA_LANE f32x16 load_f16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_epi16(p)); }
GRETA_LANE f32x16 broadcast_f16(const void* p) {
  int16_t h;
  __builtin_memcpy(&h, p, 2);
  return _mm512_cvtph_ps(_mm256_set1_epi16(h));
}
GRETA_LANE void store_f16(void* p, f32x16 x) {
  _mm256_storeu_epi16(p, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
GRETA_LANE void store_low8(void* p, i32x16 x) { _mm_storeu_epi8(p, _mm512_cvtepi32_epi8(x.v)); }
GRETA_LANE void store_low16(void* p, i32x16 x) { _mm256_storeu_epi16(p, _mm512_cvtepi32_epi16(x.v)); }
GRETA_LANE void store_raw(void* p, i32x16 x) { _mm512_storeu_si512(p, x.v); }
/// 16 bytes as 16 lanes.
GRETA_LANE i32x16 load_u8(const void* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_epi8(p))}; }
GRETA_LANE i32x16 load_i8(const void* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_epi8(p))}; }
/// Per byte of `index` (0 .. 15): the byte there in a table of 16.
GRETA_LANE i32x16 look_up(const uint8_t* table, i32x16 index) {
  const __m128i bytes = _mm_loadu_epi8(table);
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), index.v)};
}
GRETA_LANE void prefetch(const void* p) { _mm_prefetch(p, _MM_HINT_T0); }

// Floats.
GRETA_LANE f32x16 operator+(f32x16 a, f32x16 b) { return _mm512_add_ps(a.v, b.v); }
GRETA_LANE f32x16 operator-(f32x16 a, f32x16 b) { return _mm512_sub_ps(a.v, b.v); }
GRETA_LANE f32x16 operator*(f32x16 a, f32x16 b) { return _mm512_mul_ps(a.v, b.v); }
GRETA_LANE f32x16 operator/(f32x16 a, f32x16 b) { return _mm512_div_ps(a.v, b.v); }
GRETA_LANE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
GRETA_LANE f32x16 sqrt(f32x16 a) { return _mm512_sqrt_ps(a.v); }
GRETA_LANE mask16 less(f32x16 a, f32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
GRETA_LANE mask16 is_number(f32x16 a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q)}; }
GRETA_LANE mask16 first_lanes(int n) {
  return {n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : first(n)};
}
GRETA_LANE f32x16 select(mask16 m, f32x16 yes, f32x16 no) { return _mm512_mask_blend_ps(m.v, no.v, yes.v); }

// Integers.
GRETA_LANE i32x16 set_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
GRETA_LANE i32x16 operator+(i32x16 a, i32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
GRETA_LANE i32x16 operator-(i32x16 a, i32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
GRETA_LANE i32x16 operator&(i32x16 a, i32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
GRETA_LANE i32x16 operator|(i32x16 a, i32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
GRETA_LANE i32x16 operator^(i32x16 a, i32x16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
GRETA_LANE i32x16 max(i32x16 a, i32x16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int kBits>
GRETA_LANE i32x16 shl(i32x16 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
GRETA_LANE i32x16 shr(i32x16 a) {  // zeros come in
  return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
GRETA_LANE i32x16 sar(i32x16 a) {  // the sign comes in
  return {_mm512_srai_epi32(a.v, kBits)};
}
GRETA_LANE i32x16 select(mask16 m, i32x16 yes, i32x16 no) {
  return {_mm512_mask_blend_epi32(m.v, no.v, yes.v)};
}

// Between the two.
GRETA_LANE i32x16 bits(f32x16 a) { return {_mm512_castps_si512(a.v)}; }
GRETA_LANE f32x16 from_bits(i32x16 a) { return _mm512_castsi512_ps(a.v); }
GRETA_LANE f32x16 to_f32(i32x16 a) { return _mm512_cvtepi32_ps(a.v); }
GRETA_LANE i32x16 round_to_i32(f32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }

// Across lanes.
GRETA_LANE f32x16 dup_even(f32x16 a) { return _mm512_moveldup_ps(a.v); }
GRETA_LANE f32x16 dup_odd(f32x16 a) { return _mm512_movehdup_ps(a.v); }
GRETA_LANE f32x16 swap_pairs(f32x16 a) { return _mm512_permute_ps(a.v, 0xb1); }
GRETA_LANE f32x16 even_odd(f32x16 even, f32x16 odd) { return _mm512_mask_blend_ps(0xaaaa, even.v, odd.v); }

/// ((l0 + l8) + (l4 + l12)) + ...: lanes l and l + 8 first, then 4, 2, 1 apart.
GRETA_LANE float sum_tree(f32x16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
GRETA_LANE int32_t max_lane(i32x16 a) { return _mm512_reduce_max_epi32(a.v); }
GRETA_LANE int32_t sum_lanes(i32x16 a) { return _mm512_reduce_add_epi32(a.v); }

#ifdef __AVX512VNNI__
/// Per lane: acc + the dot product of 4 unsigned bytes with 4 signed bytes, exact.
/// Signed bytes are in -127..127.
GRETA_LANE i32x16 dot4(i32x16 acc, i32x16 u, i32x16 s) { return {_mm512_dpbusd_epi32(acc.v, u.v, s.v)}; }
#endif

#ifdef __AVX512BF16__
/// Per lane: acc + a pair of bf16 products as vdpbf16ps does it: fma of the high halves, then of the low
/// halves, subnormal inputs taken as 0 and subnormal results (after rounding) made 0.
GRETA_LANE f32x16 dot2_bf16(f32x16 acc, i32x16 a, i32x16 b) {
  return _mm512_dpbf16_ps(acc.v, (__m512bh)a.v, (__m512bh)b.v);
}
#endif

// How many tokens (panels, queries, vectors) a register tile holds; no effect on the bits.
#ifndef GRETA_SANITIZED
inline constexpr int kInt8Tokens = 6;
inline constexpr int kInt8Panels = 2;  // 1 or 2
inline constexpr int kFloatTokens = 12;
inline constexpr int kFloatPanels = 2;
inline constexpr int kGemvPanels = 8;      // chains of a row, to hide the latency of FMAs
inline constexpr int kAttentionRows = 8;   // queries that share the reading of keys
inline constexpr int kAttentionSums = 16;  // score vectors kept in registers
inline constexpr int kMixRows = 4;         // queries that share the reading of values
inline constexpr int kMixVectors = 4;      // vectors of dims
#else                                      // instrumented large tiles take minutes to compile
inline constexpr int kInt8Tokens = 2;
inline constexpr int kInt8Panels = 2;
inline constexpr int kFloatTokens = 2;
inline constexpr int kFloatPanels = 2;
inline constexpr int kGemvPanels = 2;
inline constexpr int kAttentionRows = 2;
inline constexpr int kAttentionSums = 2;
inline constexpr int kMixRows = 2;
inline constexpr int kMixVectors = 2;
#endif

}  // namespace greta::avx512
