#pragma once
// A matrix unit's sum in f64, with what its declared roundings do to it: the interval of every cut is known
// from the exponents of the terms, which f64 shows. An estimate: it shares no code with sim's
// arithmetic, only the parameters of the rule. Lanes are output elements, as in lane_chain.h. Internal.

#include <cstdint>

#include "numerics/lane_chain.h"
#include "units/instruction.h"

namespace greta {

/// What a chain of one instruction does, as numbers: docs/numerics.md, "Matrix units".
struct UnitRule {
  /// An instruction of rule fused, floored or floored_fp8, with `splits` chains over K, or one for each
  /// `slice` of it (base/rounding.h).
  UnitRule(const units::Instruction& unit, int splits, int slice);

  int64_t step, group, splits, slice;
  double smallest_a, smallest_b, smallest_sum;  // normal numbers of the formats; zeros count as these
  double cut_bit, stored_bit;                   // 2^-fractional bits: of an aligned term, a result
  bool fused;                                   // the running sum is cut with the products; else floored
  bool nearest;                                 // cuts are to nearest
  bool stored_nearest;                          // results are rounded to nearest
};

/// The largest power of two not above |x|, at least `smallest`.
double power_below(double x, double smallest);

/// Per lane: the exact sum; the sum of the middles of all roundings' intervals; the sum of the squares of
/// their half-widths; the largest power of two that terms were aligned to.
struct UnitSums {
  double sum[kLanes];
  double drift[kLanes];
  double energy[kLanes];
  double largest[kLanes];
};

/// The lowest bit of x that is 1, a power of two; infinite of 0.
double lowest_bit(double x);

/// Values with power_below() and lowest_bit() of each: one input row [k], or eight weight rows [k][8].
struct UnitOperand {
  const double *value, *power, *bit;
};

/// One input row against eight weight rows. The first chain's sum begins with `start` [8], f32 values (a
/// bias; zeros for none); of slices, the sum of them all does.
void chain_unit(const UnitRule& rule, const UnitOperand& w, const UnitOperand& x, const double* start,
                int64_t k, UnitSums& out);

}  // namespace greta
