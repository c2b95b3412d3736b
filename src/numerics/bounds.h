#pragma once
// The constants of every rounding-error bound and the one formula they share. docs/numerics.md derives them.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rounding.h"

namespace greta::bounds {

/// Unit roundoff of f32: half the distance from 1 to the next number.
inline constexpr double kU = 0x1p-24;

/// The smallest normal f32: what an underflow may add or take.
inline constexpr double kTiny = 0x1p-126;

/// A whole run of 1e9 judged elements fails with probability at most 1e-9, hence 1e-18 an element, and
/// 2 exp(-lambda^2 / 2) <= 1e-18.
inline constexpr double kLambda = 9.2;

/// Relative error of our exp polynomial: 2 ulp, each at most 2u of the value.
inline constexpr double kExp = 4 * kU;

/// Of exp(x) by CUDA's __expf: 2 + floor(1.173 |x|) ulp (CUDA C++ Programming Guide 13, "Intrinsic
/// functions"); else ours.
inline double exp_error(double x, bool fast_math) {
  return fast_math ? 2 * kU * (2 + 1.173 * std::abs(x)) : kExp;
}

/// Relative error of a division: a rounded one, or CUDA's __fdividef (2 ulp, same table).
constexpr double division(bool fast_math) { return fast_math ? 4 * kU : kU; }

/// Absolute error of CUDA's __sinf and __cosf within a half turn (same table: 2^-21.41, 2^-21.19); beyond it
/// the argument is multiplied by 1 / 2 pi in f32 first.
inline double fast_sin_cos(double angle) { return 0x1p-21 + 2 * kU * std::abs(angle); }

/// Relative error of tanh(x): 2 ulp of ours (1.33) and of CUDA's tanhf; or of its tanh.approx.f32 (2^-10.987,
/// PTX ISA 8.5, "tanh").
constexpr double tanh_error(bool fast_math) { return fast_math ? 0x1.03p-11 : 4 * kU; }

/// Relative error of 1 / sqrt(x): a rounded square root and a rounded division, or a polynomial as good.
inline constexpr double kRsqrt = 2 * kU;

/// Error of RoPE's reduced angle, in turns: position times a frequency of some 48 bits is reduced to a
/// quarter turn and rounded there (2^-28 turns); as much again for the low parts, up to position 2^20.
inline constexpr double kTurns = 0x1p-27;

/// Absolute error of our sine and cosine polynomials.
inline constexpr double kSinCos = 2 * kU;

/// Sums over a row (norms, softmax) run in this many interleaved partial sums, which a tree then adds up.
inline constexpr int kRowSumLanes = 16;

/// Roundings of one block's term of a quantised product before it is added: the product of the two scales (or
/// the scaled sum of the activations), and its product with the integer sum where that is not fused.
inline constexpr double kBlockTermRoundings = 2;

/// Unit roundoff of a floating format; 0 for the others.
constexpr double unit_roundoff(Format format) {
  switch (format) {
    case Format::f32: return kU;
    case Format::f64: return 0x1p-53;
    case Format::f16: return 0x1p-11;
    case Format::bf16: return 0x1p-8;
    default: return 0;
  }
}

/// Beyond it, magnitudes are rounded to infinity.
constexpr double overflow(Format format) {
  switch (format) {
    case Format::f64: return std::numeric_limits<double>::infinity();
    case Format::f16: return 65520;
    case Format::bf16: return 0x1.ffp127;
    default: return 0x1.ffffffp127;
  }
}

/// Half the distance between subnormal numbers: the absolute error of one rounding there.
constexpr double underflow(Format format) { return format == Format::f16 ? 0x1p-25 : kTiny; }

/// Error of `count` roundings whose magnitudes' squares sum to `energy` (for a running sum: its partial
/// sums): min(lambda, sqrt(count)) * u * sqrt(energy),
/// and the growth by roundings of already wrong partial sums.
inline double accumulated(double energy, double count, double u) {
  const double factor = std::min(kLambda, std::sqrt(count)) * u;
  const double first_order = factor * std::sqrt(energy);
  const double growth = factor * std::sqrt(count);
  if (growth < 0.5) return first_order / (1 - growth);
  return std::sqrt(2.0) * first_order * std::exp(growth * growth);
}

/// Energy of the partial sums of `count` terms in the mean over all orders,
/// from their sum and sum of squares.
inline double any_order_energy(double sum, double squares, double count) {
  return count * (sum * sum / 3 + squares / 6);
}

/// One rounding of `value` to the output format, when the accumulator had more bits; infinite where that may
/// be infinity.
inline double store(double value, Format accumulator, Format output) {
  const double u = unit_roundoff(output);
  if (std::abs(value) >= overflow(output) * (1 - u)) return std::numeric_limits<double>::infinity();
  if (u <= unit_roundoff(accumulator)) return 0;
  return u * std::abs(value) + underflow(output);
}

/// One rounding of `value` to a format; 0 for f32, whose roundings every formula counts itself.
inline double rounding(double value, Format format) { return store(value, Format::f32, format); }

}  // namespace greta::bounds
