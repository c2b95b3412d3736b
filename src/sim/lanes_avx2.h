#pragma once
// 16 lanes on AVX2 + FMA + F16C, as two halves of 8, for block_lanes.h.
// Same names and results as lanes_avx512.h.

#include <immintrin.h>

#include <cstdint>

#include "base/compiler.h"

#define GRETA_LANE static GRETA_INLINE

namespace greta::sim::avx2 {

struct i32x16 {
  __m256i lo, hi;
  GRETA_INLINE i32x16(__m256i x, __m256i y) : lo(x), hi(y) {}
  GRETA_INLINE explicit i32x16(int32_t x) : lo(_mm256_set1_epi32(x)), hi(lo) {}
};

struct f32x16 {
  __m256 lo, hi;
  GRETA_INLINE f32x16(__m256 x, __m256 y) : lo(x), hi(y) {}
  GRETA_INLINE explicit f32x16(float x) : lo(_mm256_set1_ps(x)), hi(lo) {}
};

struct f64x16 {
  __m256d a, b, c, d;
};

struct mask16 {
  __m256 lo, hi;  // all ones or all zeros per lane
};

GRETA_LANE __m256i load_8(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
GRETA_LANE void store_8(int32_t* p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }

// Integers.
GRETA_LANE i32x16 load(const int32_t* p) { return {load_8(p), load_8(p + 8)}; }
GRETA_LANE void store(int32_t* p, i32x16 x) { store_8(p, x.lo), store_8(p + 8, x.hi); }
GRETA_LANE i32x16 operator+(i32x16 x, i32x16 y) {
  return {_mm256_add_epi32(x.lo, y.lo), _mm256_add_epi32(x.hi, y.hi)};
}
GRETA_LANE i32x16 operator-(i32x16 x, i32x16 y) {
  return {_mm256_sub_epi32(x.lo, y.lo), _mm256_sub_epi32(x.hi, y.hi)};
}
GRETA_LANE i32x16 operator&(i32x16 x, i32x16 y) {
  return {_mm256_and_si256(x.lo, y.lo), _mm256_and_si256(x.hi, y.hi)};
}
GRETA_LANE i32x16 operator|(i32x16 x, i32x16 y) {
  return {_mm256_or_si256(x.lo, y.lo), _mm256_or_si256(x.hi, y.hi)};
}
GRETA_LANE i32x16 max(i32x16 x, i32x16 y) {
  return {_mm256_max_epi32(x.lo, y.lo), _mm256_max_epi32(x.hi, y.hi)};
}
GRETA_LANE i32x16 abs(i32x16 x) { return {_mm256_abs_epi32(x.lo), _mm256_abs_epi32(x.hi)}; }
/// `magnitude`, negated where x < 0; x = 0 only where the magnitude is 0, too.
GRETA_LANE i32x16 with_sign_of(i32x16 magnitude, i32x16 x) {
  return {_mm256_sign_epi32(magnitude.lo, x.lo), _mm256_sign_epi32(magnitude.hi, x.hi)};
}
/// Products of the low 16 bits, signed, where the high 16 bits of `x` or `y` are 0.
GRETA_LANE i32x16 multiply_16(i32x16 x, i32x16 y) {
  return {_mm256_madd_epi16(x.lo, y.lo), _mm256_madd_epi16(x.hi, y.hi)};
}
template <int kBits>
GRETA_LANE i32x16 shift_left(i32x16 x) {
  return {_mm256_slli_epi32(x.lo, kBits), _mm256_slli_epi32(x.hi, kBits)};
}
template <int kBits>
GRETA_LANE i32x16 shift_right(i32x16 x) {
  return {_mm256_srli_epi32(x.lo, kBits), _mm256_srli_epi32(x.hi, kBits)};
}
/// By 32 and more: 0.
GRETA_LANE i32x16 shift_right(i32x16 x, i32x16 bits) {
  return {_mm256_srlv_epi32(x.lo, bits.lo), _mm256_srlv_epi32(x.hi, bits.hi)};
}
/// Floor; by 32 and more: 0 or -1.
GRETA_LANE i32x16 shift_right_signed(i32x16 x, i32x16 bits) {
  return {_mm256_srav_epi32(x.lo, bits.lo), _mm256_srav_epi32(x.hi, bits.hi)};
}
GRETA_LANE mask16 mask_of(__m256i lo, __m256i hi) {
  return {_mm256_castsi256_ps(lo), _mm256_castsi256_ps(hi)};
}
GRETA_LANE mask16 greater(i32x16 x, i32x16 y) {
  return mask_of(_mm256_cmpgt_epi32(x.lo, y.lo), _mm256_cmpgt_epi32(x.hi, y.hi));
}
GRETA_LANE mask16 equal(i32x16 x, i32x16 y) {
  return mask_of(_mm256_cmpeq_epi32(x.lo, y.lo), _mm256_cmpeq_epi32(x.hi, y.hi));
}
/// Bit j: lane j.
GRETA_LANE unsigned lanes_of(mask16 m) {
  return static_cast<unsigned>(_mm256_movemask_ps(m.lo)) | static_cast<unsigned>(_mm256_movemask_ps(m.hi))
                                                               << 8;
}

// f32.
GRETA_LANE f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
GRETA_LANE void store(float* p, f32x16 x) { _mm256_storeu_ps(p, x.lo), _mm256_storeu_ps(p + 8, x.hi); }
GRETA_LANE i32x16 bits_of(f32x16 x) { return {_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi)}; }
GRETA_LANE f32x16 floats_of(i32x16 bits) {
  return {_mm256_castsi256_ps(bits.lo), _mm256_castsi256_ps(bits.hi)};
}
GRETA_LANE f32x16 operator+(f32x16 x, f32x16 y) {
  return {_mm256_add_ps(x.lo, y.lo), _mm256_add_ps(x.hi, y.hi)};
}
GRETA_LANE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) {
  return {_mm256_fmadd_ps(x.lo, y.lo, z.lo), _mm256_fmadd_ps(x.hi, y.hi, z.hi)};
}
GRETA_LANE mask16 magnitude_below(f32x16 x, f32x16 limit) {
  const f32x16 size = floats_of(bits_of(x) & i32x16(0x7fffffff));
  return {_mm256_cmp_ps(size.lo, limit.lo, _CMP_LT_OQ), _mm256_cmp_ps(size.hi, limit.hi, _CMP_LT_OQ)};
}
GRETA_LANE mask16 is_nan(f32x16 x) {
  return {_mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q), _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q)};
}
GRETA_LANE f32x16 select(mask16 m, f32x16 yes, f32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}
GRETA_LANE i32x16 select(mask16 m, i32x16 yes, i32x16 no) {
  return bits_of(select(m, floats_of(yes), floats_of(no)));
}

// 16 packed elements as i32, or as the values that they stand for.
GRETA_LANE i32x16 load_u16(const void* p) {
  const __m128i* q = static_cast<const __m128i*>(p);
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}
GRETA_LANE f32x16 load_f16(const void* p) {
  const __m128i* q = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
GRETA_LANE f32x16 look_up_u8(const void* p, const float* table) {
  const __m128i index = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(index), 4),
          _mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(_mm_srli_si128(index, 8)), 4)};
}

// f64.
GRETA_LANE __m128i low_4(__m256i x) { return _mm256_castsi256_si128(x); }
GRETA_LANE __m128i high_4(__m256i x) { return _mm256_extracti128_si256(x, 1); }
GRETA_LANE f64x16 doubles(i32x16 x) {
  return {_mm256_cvtepi32_pd(low_4(x.lo)), _mm256_cvtepi32_pd(high_4(x.lo)), _mm256_cvtepi32_pd(low_4(x.hi)),
          _mm256_cvtepi32_pd(high_4(x.hi))};
}
GRETA_LANE __m256d at_exponent(__m128i field) {
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepu32_epi64(field), 52));
}
/// 2^exponent, -1023 < exponent < 1024.
GRETA_LANE f64x16 power_of_two(i32x16 exponent) {
  const i32x16 field = exponent + i32x16(1023);
  return {at_exponent(low_4(field.lo)), at_exponent(high_4(field.lo)), at_exponent(low_4(field.hi)),
          at_exponent(high_4(field.hi))};
}
GRETA_LANE f64x16 operator+(f64x16 x, f64x16 y) {
  return {_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b), _mm256_add_pd(x.c, y.c), _mm256_add_pd(x.d, y.d)};
}
GRETA_LANE f64x16 operator*(f64x16 x, f64x16 y) {
  return {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b), _mm256_mul_pd(x.c, y.c), _mm256_mul_pd(x.d, y.d)};
}
GRETA_LANE f64x16 operator*(f64x16 x, double y) {
  const __m256d factor = _mm256_set1_pd(y);
  return x * f64x16{factor, factor, factor, factor};
}
GRETA_LANE f64x16 floor(f64x16 x) {
  return {_mm256_floor_pd(x.a), _mm256_floor_pd(x.b), _mm256_floor_pd(x.c), _mm256_floor_pd(x.d)};
}

/// To nearest even.
GRETA_LANE __m256 nearest_8(__m256d lo, __m256d hi) {
  return _mm256_set_m128(_mm256_cvtpd_ps(hi), _mm256_cvtpd_ps(lo));
}
GRETA_LANE f32x16 to_nearest(f64x16 x) { return {nearest_8(x.a, x.b), nearest_8(x.c, x.d)}; }

/// All ones in the low half of each lane in which the f32 nearest to x is farther from zero. The signs being
/// equal, the bits compare as magnitudes do.
GRETA_LANE __m256i farther(__m128 nearest, __m256d x) {
  return _mm256_cmpgt_epi64(_mm256_castpd_si256(_mm256_cvtps_pd(nearest)), _mm256_castpd_si256(x));
}
/// To nearest, and one step back where that is farther from zero.
GRETA_LANE __m256 toward_zero_8(__m256d lo, __m256d hi) {
  const __m128 near_lo = _mm256_cvtpd_ps(lo), near_hi = _mm256_cvtpd_ps(hi);
  const __m256i even_lanes = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m256i back_lo = _mm256_permutevar8x32_epi32(farther(near_lo, lo), even_lanes);
  const __m256i back_hi = _mm256_permutevar8x32_epi32(farther(near_hi, hi), even_lanes);
  const __m256i back = _mm256_blend_epi32(back_lo, back_hi, 0xf0);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(_mm256_set_m128(near_hi, near_lo)), back));
}
/// Toward zero; |x| < 2^128.
GRETA_LANE f32x16 toward_zero(f64x16 x) { return {toward_zero_8(x.a, x.b), toward_zero_8(x.c, x.d)}; }

/// x with an odd last bit of f32 where it is inexact: rounding that again to f16 rounds x once.
GRETA_LANE __m256d to_odd(__m256d x) {
  const __m256i bits = _mm256_castpd_si256(x), low = _mm256_set1_epi64x((1 << 29) - 1);
  const __m256i carry = _mm256_add_epi64(_mm256_and_si256(bits, low), low);
  return _mm256_castsi256_pd(_mm256_andnot_si256(low, _mm256_or_si256(bits, carry)));
}
GRETA_LANE __m256 nearest_f16_8(__m256d lo, __m256d hi) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(nearest_8(to_odd(lo), to_odd(hi)), _MM_FROUND_TO_NEAREST_INT));
}
GRETA_LANE f32x16 to_nearest_f16(f64x16 x) { return {nearest_f16_8(x.a, x.b), nearest_f16_8(x.c, x.d)}; }

}  // namespace greta::sim::avx2
