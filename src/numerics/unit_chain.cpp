#include "numerics/unit_chain.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/compiler.h"
#include "numerics/bounds.h"

// As in lane_chain.cpp: no result depends on the instruction set.
#if defined(__x86_64__) && !defined(GRETA_SANITIZED)
#define GRETA_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define GRETA_CLONES
#endif

namespace greta {
namespace {

typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double)), aligned(8), may_alias));
typedef int64_t Bits __attribute__((vector_size(kLanes * sizeof(int64_t)), aligned(8), may_alias));

constexpr int64_t kSign = std::numeric_limits<int64_t>::min();
constexpr int64_t kExponent = 0x7ff0000000000000;
constexpr int kMostGroup = 32;
constexpr double kEndless = std::numeric_limits<double>::infinity();
constexpr int kLowBits = 4;           // of an aligned sum that a result may lose
constexpr int kExtraProductBits = 7;  // CDNA3 floors the products' sum finer than the running sum

GRETA_INLINE void raise(Lanes& x, const Lanes& y) { x = x > y ? x : y; }

/// power_below() of every lane.
GRETA_INLINE void set_power(Lanes& power, const Lanes& x, double smallest) {
  power = (Lanes)((Bits)x & kExponent);
  raise(power, Lanes{} + smallest);
}

GRETA_INLINE void set_with_sign(Lanes& x, const Lanes& sign) { x = (Lanes)((Bits)x | ((Bits)sign & kSign)); }

/// The half-width of the interval that cutting multiples of `bit` to multiples of `quantum` leaves.
GRETA_INLINE void set_half(Lanes& half, const Lanes& quantum, const Lanes& bit) {
  half = (quantum - bit) * 0.5;
  raise(half, Lanes{});
}

/// Running state of the eight sums, and the roundings met so far.
struct Chain {
  Lanes sum, bit;  // the sums are multiples of `bit`
  Lanes drift, energy, largest;
};

/// What `bit` counts as in the mean of a product's cut. The last b bits of a product of two random integers
/// are all 0 with probability (b + 2) / 2^(b + 1) (of one integer: 1 / 2^b), and else symmetric.
GRETA_INLINE void set_product_bit(Lanes& result, const Lanes& quantum, const Lanes& bit) {
  const Bits lost = ((Bits)quantum - (Bits)bit) >> 52;
  result = bit * (__builtin_convertvector(lost, Lanes) + 2.0) * 0.5;
}

/// `term`, a multiple of `bit`, cut to `quantum`: toward zero, or to nearest. One below the quantum is lost.
GRETA_INLINE void cut(const UnitRule& rule, const Lanes& term, const Lanes& bit, const Lanes& mean_bit,
                      const Lanes& quantum, Chain& chain) {
  const Lanes magnitude = (Lanes)((Bits)term & ~kSign);
  Lanes half;
  set_half(half, quantum, bit);
  if (rule.nearest) {
    const Bits lost = magnitude + magnitude < quantum;
    half = half > 0.0 ? quantum * 0.5 : Lanes{};
    chain.drift -= lost ? term : Lanes{};
    half = lost ? Lanes{} : half;
  } else {
    const Bits lost = magnitude < quantum;
    Lanes middle;
    set_half(middle, quantum, mean_bit);
    set_with_sign(middle, term);
    chain.drift -= lost ? term : middle;
    half = lost ? Lanes{} : half;
  }
  chain.energy += half * half;
}

/// As cut(), toward minus infinity; exact zeros stay.
GRETA_INLINE void cut_down(const UnitRule& rule, const Lanes& term, const Lanes& bit, const Lanes& quantum,
                           Chain& chain) {
  Lanes half;
  set_half(half, quantum, bit);
  half = term == 0.0 ? Lanes{} : half;
  if (rule.nearest) {
    half = half > 0.0 ? quantum * 0.5 : Lanes{};
  } else {
    chain.drift -= half;
  }
  chain.energy += half * half;
}

/// How much more often than not the lowest bits of an aligned sum are 0: 1 always, 0 as often as not.
struct EvenBits {
  Lanes lowest;  // the value of the first of these bits; each is twice the one before
  Lanes excess[kLowBits];
};

/// The result of a step, a multiple of `bit`, in the format of sums.
GRETA_INLINE void store(const UnitRule& rule, const Lanes& bit, const EvenBits& even, Chain& chain) {
  Lanes quantum;
  set_power(quantum, chain.sum, rule.smallest_sum);
  quantum *= rule.stored_bit;
  Lanes half;
  set_half(half, quantum, bit);
  if (rule.stored_nearest) {
    half = half > 0.0 ? quantum * 0.5 : Lanes{};
  } else {
    Lanes middle, value = even.lowest;
    set_half(middle, quantum, value);
    for (const Lanes& excess : even.excess) {
      const Lanes less = value * excess * 0.5;
      middle -= value < quantum ? less : Lanes{};
      value += value;
    }
    middle = middle < half ? middle : half;  // what is lost are multiples of `bit`
    set_with_sign(middle, chain.sum);
    chain.drift -= middle;
  }
  chain.energy += half * half;
  chain.bit = quantum > bit ? quantum : bit;
}

struct Group {
  Lanes term[kMostGroup], power[kMostGroup];
  Lanes sum, largest, least;
  int64_t count;
};

GRETA_INLINE void multiply(const double* w, const double* w_power, const double* x, const double* x_power,
                           Group& group) {
  group.sum = Lanes{};
  group.largest = Lanes{};
  group.least = Lanes{} + kEndless;
  for (int64_t i = 0; i < group.count; ++i) {
    group.term[i] = *reinterpret_cast<const Lanes*>(w + i * kLanes) * x[i];
    group.power[i] = *reinterpret_cast<const Lanes*>(w_power + i * kLanes) * x_power[i];
    group.sum += group.term[i];
    raise(group.largest, group.power[i]);
    group.least = group.least < group.power[i] ? group.least : group.power[i];
  }
}

GRETA_INLINE void cut_products(const UnitRule& rule, const Group& group, const Lanes& quantum, Chain& chain) {
  const Bits loses = group.least * rule.product_bit < quantum;
  int64_t any = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) any |= loses[lane];
  for (int64_t i = 0; any != 0 && i < group.count; ++i) {
    const Lanes bit = group.power[i] * rule.product_bit;
    Lanes mean_bit;
    set_product_bit(mean_bit, quantum, bit);
    mean_bit = bit < quantum ? mean_bit : bit;
    cut(rule, group.term[i], bit, mean_bit, quantum, chain);
  }
}

/// A product's lowest bit is 1 in one case of four, the next ones more evenly: its sign of bit i after the
/// lowest is 2^-(i + 1) in the mean, and those of a sum multiply.
GRETA_INLINE void set_even_bits(const UnitRule& rule, const Group& group, const Lanes& quantum,
                                const Chain& chain, EvenBits& even) {
  even.lowest = quantum;
  const Lanes scale = (rule.product_bit * 0.5) / quantum;
  Lanes value = quantum;
  for (Lanes& excess : even.excess) {
    excess = chain.bit > value ? Lanes{} + 1.0 : Lanes{};
    value += value;
  }
  for (int64_t i = 0; i < group.count; ++i) {
    Lanes odd = group.power[i] * scale;
    for (Lanes& excess : even.excess) {
      excess *= odd < 1.0 ? odd : Lanes{} + 1.0;
      odd *= 0.5;
    }
  }
}

GRETA_INLINE void add_group(const UnitRule& rule, const Group& group, Chain& chain) {
  EvenBits even{};
  Lanes common, bit = group.least * rule.product_bit;
  set_power(common, chain.sum, rule.smallest_sum);
  raise(common, group.largest);
  if (rule.fused) {
    const Lanes quantum = common * rule.cut_bit;
    cut_products(rule, group, quantum, chain);
    cut(rule, chain.sum, chain.bit, chain.bit, quantum, chain);
    if (!rule.stored_nearest) set_even_bits(rule, group, quantum, chain, even);
    bit = bit < chain.bit ? bit : chain.bit;
    raise(bit, quantum);
  } else {
    const Lanes own = group.largest * rule.cut_bit, coarse = common * rule.cut_bit;
    const Lanes fine = coarse * (1.0 / (1 << kExtraProductBits));
    cut_products(rule, group, own, chain);
    raise(bit, own);
    cut_down(rule, group.sum, bit, fine, chain);
    cut_down(rule, chain.sum, chain.bit, coarse, chain);
    raise(bit, fine);
    Lanes sum_bit = chain.bit;
    raise(sum_bit, coarse);
    bit = bit < sum_bit ? bit : sum_bit;
  }
  raise(chain.largest, common);
  chain.sum += group.sum;
  store(rule, bit, even, chain);
}

/// A chain that begins with f32 values in the place of zeros.
GRETA_INLINE void set_start(const double* start, Chain& chain) {
  chain.sum = *reinterpret_cast<const Lanes*>(start);
  Lanes power;
  set_power(power, chain.sum, 0x1p-126);
  chain.bit = chain.sum == 0.0 ? chain.bit : power * 0x1p-23;
}

int mantissa_bits(units::Element element) {
  switch (element) {
    case units::Element::f32: return 23;
    case units::Element::tf32:
    case units::Element::f16: return 10;
    case units::Element::bf16: return 7;
    case units::Element::e4m3:
    case units::Element::e4m3fnuz: return 3;
    case units::Element::e5m2:
    case units::Element::e5m2fnuz: return 2;
  }
  return 0;
}

double smallest_normal(units::Element element) { return std::ldexp(1.0, units::info(element).min_exponent); }

int stored_bits(units::Output output) {
  return output == units::Output::f16_nearest ? 10 : output == units::Output::f32_truncated_13 ? 13 : 23;
}

}  // namespace

UnitRule::UnitRule(const units::Instruction& unit, int k_splits)
    : step(unit.k),
      group(unit.group),
      splits(k_splits),
      smallest_a(smallest_normal(unit.a)),
      smallest_b(smallest_normal(unit.b)),
      smallest_sum(smallest_normal(unit.d)),
      product_bit(std::ldexp(1.0, -mantissa_bits(unit.a) - mantissa_bits(unit.b))),
      cut_bit(std::ldexp(1.0, -unit.fraction_bits)),
      stored_bit(std::ldexp(1.0, -stored_bits(unit.output))),
      fused(unit.rule == units::Rule::fused),
      nearest(unit.nearest),
      stored_nearest(unit.nearest || unit.output == units::Output::f32_nearest ||
                     unit.output == units::Output::f16_nearest) {}

double power_below(double x, double smallest) {
  return std::max(std::bit_cast<double>(std::bit_cast<int64_t>(x) & kExponent), smallest);
}

GRETA_CLONES void chain_unit(const UnitRule& rule, const double* w, const double* w_power, const double* x,
                             const double* x_power, const double* start, int64_t k, UnitSums& out) {
  const int64_t steps = (k + rule.step - 1) / rule.step;
  Lanes total{}, drift{}, energy{}, largest{};
  Group group;
  int64_t at = 0;
  // As sim/device.h declares: the first splits are the longer ones, and f32 additions join them.
  for (int64_t split = 0; split < std::min(rule.splits, steps); ++split) {
    const int64_t own = steps / rule.splits + (split < steps % rule.splits ? 1 : 0);
    const int64_t end = std::min(k, at + own * rule.step);
    Chain chain{Lanes{}, Lanes{} + kEndless, drift, energy, largest};
    if (split == 0) set_start(start, chain);
    for (; at < end; at += group.count) {
      group.count = std::min(rule.group, end - at);
      multiply(w + at * kLanes, w_power + at * kLanes, x + at, x_power + at, group);
      add_group(rule, group, chain);
    }
    total += chain.sum;
    drift = chain.drift;
    energy = chain.energy;
    largest = chain.largest;
    if (split > 0) energy += total * total * (bounds::kU * bounds::kU);
  }
  std::memcpy(out.sum, &total, sizeof total);
  std::memcpy(out.drift, &drift, sizeof drift);
  std::memcpy(out.energy, &energy, sizeof energy);
  std::memcpy(out.largest, &largest, sizeof largest);
}

}  // namespace greta
