#pragma once
// exp, tanh, sin, cos, silu and gelu as FMA polynomials, without intrinsics or libm: the same bits come out
// of every ISA build and of a GPU (compiled without fast-math and without flush-to-zero). V is float or a
// type of lanes with + - * /, fma, less, select, bits, from_bits, sar and shl.
//
// rsqrt is 1 / sqrt(x) with the IEEE square root and division: both are correctly rounded on every device.
//
// Largest error over ALL f32 inputs of the stated range, against libm in double (sin, cos: long double),
// in units of the last place of the exact result
// (bench/kernels/math_accuracy.cpp; tests/kernels/math_test.cpp takes a sample):
//   exp(x)            -104 .. 88.72    0.988 ulp
//   tanh(x)           all              1.331 ulp
//   silu(x)           -88 and above    2.404 ulp
//   gelu(x)           see gelu()
//   sin_cos_turns(t)  |t| <= 0.5       1.024 ulp, 6.2e-8 absolute

#include <cstdint>

#include "base/compiler.h"

#define GRETA_MATH static GRETA_INLINE

namespace greta::math {

// The lane operations for one float.
GRETA_MATH float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
GRETA_MATH bool less(float a, float b) { return a < b; }
GRETA_MATH float select(bool m, float yes, float no) { return m ? yes : no; }
GRETA_MATH int32_t bits(float x) { return __builtin_bit_cast(int32_t, x); }
GRETA_MATH float from_bits(int32_t x) { return __builtin_bit_cast(float, x); }
template <int kBits>
GRETA_MATH int32_t sar(int32_t x) {
  return x >> kBits;
}
template <int kBits>
GRETA_MATH int32_t shl(int32_t x) {
  return static_cast<int32_t>(static_cast<uint32_t>(x) << kBits);
}
GRETA_MATH int32_t plus(int32_t a, int32_t b) {  // wraps, as lanes do
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}
template <class I>
GRETA_MATH I plus(I a, I b) {
  return a + b;
}
GRETA_MATH int32_t minus(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b));
}
template <class I>
GRETA_MATH I minus(I a, I b) {
  return a - b;
}

// Adding this rounds |x| < 2^22 to the nearest integer, which then stands in the low bits.
inline constexpr float kRounder = 0x1.8p23f;

/// e^x. 0 below -103.98, infinity above 88.72, NaN stays NaN; subnormal results are rounded once.
template <class V>
GRETA_MATH V exp(V x) {
  x = select(less(x, V(-104.0f)), V(-104.0f), x);
  x = select(less(V(89.0f), x), V(89.0f), x);
  const V shifted = fma(x, V(0x1.715476p+0f), V(kRounder));  // n = round(x / ln 2)
  const V n = shifted - V(kRounder);
  V r = fma(n, V(-0x1.62e4p-1f), x);  // ln 2 in two parts: n times the first is exact
  r = fma(n, V(-0x1.7f7d1cp-20f), r);
  V q = fma(V(0x1.a124e4p-13f), r, V(0x1.6d4316p-10f));  // (e^r - 1 - r) / r^2
  q = fma(q, r, V(0x1.1110ep-7f));
  q = fma(q, r, V(0x1.5554eap-5f));
  q = fma(q, r, V(0x1.555556p-3f));
  q = fma(q, r, V(0.5f));
  const V p = fma(q, r * r, r) + V(1.0f);
  // 2^n in two factors, so that neither overflows and only the second product rounds.
  const auto whole = minus(bits(shifted), bits(V(kRounder)));
  const auto half = sar<1>(whole);
  const V first = from_bits(plus(shl<23>(half), bits(V(1.0f))));
  const V second = from_bits(plus(shl<23>(minus(whole, half)), bits(V(1.0f))));
  return (p * first) * second;
}

/// tanh x; odd bit for bit, NaN stays NaN.
template <class V>
GRETA_MATH V tanh(V x) {
  const auto sign = bits(x) & bits(V(-0.0f));
  const V a = from_bits(bits(x) ^ sign);
  const V large = V(1.0f) - V(2.0f) / (exp(a + a) + V(1.0f));
  const V u = a * a;
  V p = fma(V(0x1.2c83cp-9f), u, V(-0x1.116a16p-7f));  // (tanh(a) / a - 1) / a^2
  p = fma(p, u, V(0x1.64a976p-6f));
  p = fma(p, u, V(-0x1.ba08c4p-5f));
  p = fma(p, u, V(0x1.1110eap-3f));
  p = fma(p, u, V(-0x1.555556p-2f));
  const V small = fma(a * u, p, a);
  const V magnitude = select(less(a, V(0.625f)), small, large);
  return from_bits(bits(magnitude) | sign);
}

/// x / (1 + e^-x). -0 below -88.72, where the exponential overflows.
template <class V>
GRETA_MATH V silu(V x) {
  return x / (V(1.0f) + exp(V(0.0f) - x));
}

/// GELU in its tanh form, x (1 + tanh z) / 2 with z = sqrt(2 / pi) (x + 0.044715 x^3), as x / (1 + e^-2z):
/// the sum of 1 and a tanh near -1 would cancel. -0 below -10.01, where the exponential overflows.
template <class V>
GRETA_MATH V gelu(V x) {
  const V slope = fma(x * x, V(-0x1.2444f2p-4f), V(-0x1.988454p+0f));  // -2 sqrt(2/pi) (0.044715, 1)
  return x / (V(1.0f) + exp(x * slope));
}

template <class V>
struct SinCos {
  V sin, cos;
};

/// Sine and cosine of an angle of `high + low` turns (low is a correction to high, |high| <= 2^20).
template <class V>
GRETA_MATH SinCos<V> sin_cos_turns(V high, V low) {
  const V shifted = fma(high, V(4.0f), V(kRounder));  // the nearest quarter turn
  const V quarter = shifted - V(kRounder);
  const V r = fma(low, V(4.0f), fma(high, V(4.0f), V(0.0f) - quarter));  // quarter turns, |r| <= 0.5
  const V u = r * r;
  V s = fma(V(0x1.4cb762p-13f), u, V(-0x1.32ce1ep-8f));
  s = fma(s, u, V(0x1.466bc2p-4f));
  s = fma(s, u, V(-0x1.4abbcep-1f));
  s = fma(s, u, V(-0x1.777a5cp-25f));  // pi / 2 in two parts
  s = fma(r, V(0x1.921fb6p+0f), s * r);
  V c = fma(V(0x1.db6492p-11f), u, V(-0x1.55cb98p-6f));
  c = fma(c, u, V(0x1.03c1eap-2f));
  c = fma(c, u, V(-0x1.3bd3ccp+0f));
  c = fma(c, u, V(1.0f));
  // Quarter turns 1 and 3 swap the two, 2 and 3 turn the sine's sign, 1 and 2 the cosine's.
  const auto turn = bits(shifted);
  const auto bit0 = shl<31>(turn), bit1 = shl<30>(turn), sign = bits(V(-0.0f));
  const auto swap = less(from_bits(bit0 | bits(V(1.0f))), V(0.0f));
  const V sine = select(swap, c, s), cosine = select(swap, s, c);
  return {from_bits(bits(sine) ^ (bit1 & sign)), from_bits(bits(cosine) ^ ((bit1 ^ bit0) & sign))};
}

}  // namespace greta::math
