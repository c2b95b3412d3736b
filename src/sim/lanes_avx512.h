#pragma once
// 16 lanes on AVX-512 (F, BW, DQ, VL) for block_lanes.h. Same names and results as lanes_avx2.h.

#include <immintrin.h>

#include <cstdint>

#include "base/compiler.h"

#define GRETA_LANE static GRETA_INLINE

namespace greta::sim::avx512 {

struct i32x16 {
  __m512i v;
  GRETA_INLINE i32x16(__m512i x) : v(x) {}
  GRETA_INLINE explicit i32x16(int32_t x) : v(_mm512_set1_epi32(x)) {}
};

struct f32x16 {
  __m512 v;
  GRETA_INLINE f32x16(__m512 x) : v(x) {}
  GRETA_INLINE explicit f32x16(float x) : v(_mm512_set1_ps(x)) {}
};

struct f64x16 {
  __m512d lo, hi;
};

struct mask16 {
  __mmask16 m;
};

// Integers.
GRETA_LANE i32x16 load(const int32_t* p) { return _mm512_loadu_si512(p); }
GRETA_LANE void store(int32_t* p, i32x16 x) { _mm512_storeu_si512(p, x.v); }
GRETA_LANE i32x16 operator+(i32x16 x, i32x16 y) { return _mm512_add_epi32(x.v, y.v); }
GRETA_LANE i32x16 operator-(i32x16 x, i32x16 y) { return _mm512_sub_epi32(x.v, y.v); }
GRETA_LANE i32x16 operator&(i32x16 x, i32x16 y) { return _mm512_and_si512(x.v, y.v); }
GRETA_LANE i32x16 operator|(i32x16 x, i32x16 y) { return _mm512_or_si512(x.v, y.v); }
GRETA_LANE i32x16 max(i32x16 x, i32x16 y) { return _mm512_max_epi32(x.v, y.v); }
GRETA_LANE i32x16 abs(i32x16 x) { return _mm512_abs_epi32(x.v); }
/// `magnitude`, negated where x < 0; x = 0 only where the magnitude is 0, too.
GRETA_LANE i32x16 with_sign_of(i32x16 magnitude, i32x16 x) {
  return _mm512_mask_sub_epi32(magnitude.v, _mm512_movepi32_mask(x.v), _mm512_setzero_si512(), magnitude.v);
}
/// Products of the low 16 bits, signed, where the high 16 bits of `x` or `y` are 0.
GRETA_LANE i32x16 multiply_16(i32x16 x, i32x16 y) { return _mm512_madd_epi16(x.v, y.v); }
template <int kBits>
GRETA_LANE i32x16 shift_left(i32x16 x) {
  return _mm512_slli_epi32(x.v, kBits);
}
template <int kBits>
GRETA_LANE i32x16 shift_right(i32x16 x) {
  return _mm512_srli_epi32(x.v, kBits);
}
/// By 32 and more: 0.
GRETA_LANE i32x16 shift_right(i32x16 x, i32x16 bits) { return _mm512_srlv_epi32(x.v, bits.v); }
/// Floor; by 32 and more: 0 or -1.
GRETA_LANE i32x16 shift_right_signed(i32x16 x, i32x16 bits) { return _mm512_srav_epi32(x.v, bits.v); }
GRETA_LANE mask16 greater(i32x16 x, i32x16 y) { return {_mm512_cmpgt_epi32_mask(x.v, y.v)}; }
GRETA_LANE mask16 equal(i32x16 x, i32x16 y) { return {_mm512_cmpeq_epi32_mask(x.v, y.v)}; }
GRETA_LANE i32x16 select(mask16 m, i32x16 yes, i32x16 no) { return _mm512_mask_mov_epi32(no.v, m.m, yes.v); }
/// Bit j: lane j.
GRETA_LANE unsigned lanes_of(mask16 m) { return m.m; }

// f32.
GRETA_LANE f32x16 load(const float* p) { return _mm512_loadu_ps(p); }
GRETA_LANE void store(float* p, f32x16 x) { _mm512_storeu_ps(p, x.v); }
GRETA_LANE i32x16 bits_of(f32x16 x) { return _mm512_castps_si512(x.v); }
GRETA_LANE f32x16 floats_of(i32x16 bits) { return _mm512_castsi512_ps(bits.v); }
GRETA_LANE f32x16 operator+(f32x16 x, f32x16 y) { return _mm512_add_ps(x.v, y.v); }
GRETA_LANE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) { return _mm512_fmadd_ps(x.v, y.v, z.v); }
GRETA_LANE mask16 magnitude_below(f32x16 x, f32x16 limit) {
  return {_mm512_cmp_ps_mask(_mm512_abs_ps(x.v), limit.v, _CMP_LT_OQ)};
}
GRETA_LANE mask16 is_nan(f32x16 x) { return {_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q)}; }
GRETA_LANE f32x16 select(mask16 m, f32x16 yes, f32x16 no) { return _mm512_mask_mov_ps(no.v, m.m, yes.v); }

// 16 packed elements as i32, or as the values that they stand for.
GRETA_LANE i32x16 load_u16(const void* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
GRETA_LANE f32x16 load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
GRETA_LANE f32x16 look_up_u8(const void* p, const float* table) {
  const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return _mm512_i32gather_ps(index, table, 4);
}

// f64.
GRETA_LANE f64x16 doubles(i32x16 x) {
  return {_mm512_cvtepi32_pd(_mm512_castsi512_si256(x.v)),
          _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(x.v, 1))};
}
/// 2^exponent, -1023 < exponent < 1024.
GRETA_LANE f64x16 power_of_two(i32x16 exponent) {
  const __m512i field = (exponent + i32x16(1023)).v;
  const __m512i lo = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(field));
  const __m512i hi = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(field, 1));
  return {_mm512_castsi512_pd(_mm512_slli_epi64(lo, 52)), _mm512_castsi512_pd(_mm512_slli_epi64(hi, 52))};
}
GRETA_LANE f64x16 operator+(f64x16 x, f64x16 y) {
  return {_mm512_add_pd(x.lo, y.lo), _mm512_add_pd(x.hi, y.hi)};
}
GRETA_LANE f64x16 operator*(f64x16 x, f64x16 y) {
  return {_mm512_mul_pd(x.lo, y.lo), _mm512_mul_pd(x.hi, y.hi)};
}
GRETA_LANE f64x16 operator*(f64x16 x, double y) {
  const __m512d factor = _mm512_set1_pd(y);
  return {_mm512_mul_pd(x.lo, factor), _mm512_mul_pd(x.hi, factor)};
}
GRETA_LANE f64x16 floor(f64x16 x) {
  constexpr int kDown = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  return {_mm512_roundscale_pd(x.lo, kDown), _mm512_roundscale_pd(x.hi, kDown)};
}

GRETA_LANE f32x16 join(__m256 lo, __m256 hi) { return _mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1); }
/// To nearest even.
GRETA_LANE f32x16 to_nearest(f64x16 x) { return join(_mm512_cvtpd_ps(x.lo), _mm512_cvtpd_ps(x.hi)); }
/// Toward zero; |x| < 2^128.
GRETA_LANE f32x16 toward_zero(f64x16 x) {
  constexpr int kCut = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  return join(_mm512_cvt_roundpd_ps(x.lo, kCut), _mm512_cvt_roundpd_ps(x.hi, kCut));
}
/// x to f32 with an odd last bit where it is inexact: rounding that again to f16 rounds x once.
GRETA_LANE __m256 to_odd(__m512d x) {
  const __m512i bits = _mm512_castpd_si512(x), low = _mm512_set1_epi64((1 << 29) - 1);
  const __m512i carry = _mm512_add_epi64(_mm512_and_si512(bits, low), low);
  return _mm512_cvtpd_ps(_mm512_castsi512_pd(_mm512_andnot_si512(low, _mm512_or_si512(bits, carry))));
}
GRETA_LANE f32x16 to_nearest_f16(f64x16 x) {
  return _mm512_cvtph_ps(_mm512_cvtps_ph(join(to_odd(x.lo), to_odd(x.hi)).v, _MM_FROUND_TO_NEAREST_INT));
}

}  // namespace greta::sim::avx512
