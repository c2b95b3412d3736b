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

/// `x` of at least 0 in multiples of `quantum`, toward zero.
GRETA_INLINE void set_kept(Lanes& kept, const Lanes& x, const Lanes& quantum) {
  const Lanes shift = quantum * 0x1.8p52;  // beside it only multiples of the quantum are numbers
  kept = (x + shift) - shift;
  kept -= kept > x ? quantum : Lanes{};
}

/// `term`, a multiple of `bit`, cut to `quantum`: toward zero, or to nearest. One below the quantum is lost.
/// A product's own bits are `known`, those of a sum that was cut before are not: what it loses counts as the
/// middle of its interval.
GRETA_INLINE void cut(const UnitRule& rule, const Lanes& term, const Lanes& bit, const Lanes& quantum,
                      bool known, Chain& chain) {
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
    Lanes drift = half;
    if (known) {
      set_kept(drift, magnitude, quantum);
      drift = magnitude - drift;
      half = Lanes{};
    }
    set_with_sign(drift, term);
    chain.drift -= lost ? term : drift;
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
    middle = middle < 2.0 * half ? middle : 2.0 * half;  // multiples of `bit` below the quantum
    set_with_sign(middle, chain.sum);
    chain.drift -= middle;
  }
  chain.energy += half * half;
  chain.bit = quantum > bit ? quantum : bit;
}

struct Group {
  Lanes term[kMostGroup], bit[kMostGroup];  // a term's lowest bit that is 1; endless of a zero
  Lanes sum, largest, least;
  int64_t count;
};

GRETA_INLINE void multiply(const UnitOperand& w, const UnitOperand& x, int64_t at, Group& group) {
  group.sum = Lanes{};
  group.largest = Lanes{};
  group.least = Lanes{} + kEndless;
  for (int64_t i = 0; i < group.count; ++i) {
    const int64_t k = at + i;
    group.term[i] = *reinterpret_cast<const Lanes*>(w.value + k * kLanes) * x.value[k];
    group.bit[i] = *reinterpret_cast<const Lanes*>(w.bit + k * kLanes) * x.bit[k];
    group.sum += group.term[i];
    raise(group.largest, *reinterpret_cast<const Lanes*>(w.power + k * kLanes) * x.power[k]);
    group.least = group.least < group.bit[i] ? group.least : group.bit[i];
  }
}

GRETA_INLINE void cut_products(const UnitRule& rule, const Group& group, const Lanes& quantum, Chain& chain) {
  const Bits loses = group.least < quantum;
  int64_t any = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) any |= loses[lane];
  for (int64_t i = 0; any != 0 && i < group.count; ++i)
    cut(rule, group.term[i], group.bit[i], quantum, true, chain);
}

/// Of each product a bit below its lowest is 0, the lowest 1, and those above are either; of a sum the signs
/// multiply.
GRETA_INLINE void set_even_bits(const Group& group, const Lanes& quantum, const Chain& chain,
                                EvenBits& even) {
  even.lowest = quantum;
  Lanes value = quantum;
  for (Lanes& excess : even.excess) {
    excess = chain.bit > value ? Lanes{} + 1.0 : Lanes{};
    for (int64_t i = 0; i < group.count; ++i) {
      const Lanes sign = group.bit[i] == value ? Lanes{} - 1.0 : Lanes{};
      excess *= group.bit[i] > value ? Lanes{} + 1.0 : sign;
    }
    value += value;
  }
}

GRETA_INLINE void add_group(const UnitRule& rule, const Group& group, Chain& chain) {
  EvenBits even{};
  Lanes common, bit = group.least;
  set_power(common, chain.sum, rule.smallest_sum);
  raise(common, group.largest);
  if (rule.fused) {
    const Lanes quantum = common * rule.cut_bit;
    cut_products(rule, group, quantum, chain);
    cut(rule, chain.sum, chain.bit, quantum, false, chain);
    if (!rule.stored_nearest) set_even_bits(group, quantum, chain, even);
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
  for (int64_t lane = 0; lane < kLanes; ++lane) chain.bit[lane] = lowest_bit(start[lane]);
}

double smallest_normal(units::Element element) { return std::ldexp(1.0, units::info(element).min_exponent); }

int stored_bits(units::Output output) {
  return output == units::Output::f16_nearest ? 10 : output == units::Output::f32_truncated_13 ? 13 : 23;
}

}  // namespace

UnitRule::UnitRule(const units::Instruction& unit, int k_splits, int k_slice)
    : step(unit.k),
      group(unit.group),
      splits(k_splits),
      slice(k_slice),
      smallest_a(smallest_normal(unit.a)),
      smallest_b(smallest_normal(unit.b)),
      smallest_sum(smallest_normal(unit.d)),
      cut_bit(std::ldexp(1.0, -unit.fraction_bits)),
      stored_bit(std::ldexp(1.0, -stored_bits(unit.output))),
      fused(unit.rule == units::Rule::fused),
      nearest(unit.nearest),
      stored_nearest(unit.nearest || unit.output == units::Output::f32_nearest ||
                     unit.output == units::Output::f16_nearest) {}

double power_below(double x, double smallest) {
  return std::max(std::bit_cast<double>(std::bit_cast<int64_t>(x) & kExponent), smallest);
}

double lowest_bit(double x) {
  constexpr int64_t kImplied = int64_t{1} << 52;
  if (x == 0) return kEndless;
  const int64_t bits = std::bit_cast<int64_t>(x);
  const int trailing = std::countr_zero(static_cast<uint64_t>(bits | kImplied));
  return std::ldexp(power_below(x, 0), trailing - 52);
}

GRETA_CLONES void chain_unit(const UnitRule& rule, const UnitOperand& w, const UnitOperand& x,
                             const double* start, int64_t k, UnitSums& out) {
  const int64_t steps = (k + rule.step - 1) / rule.step;
  const bool sliced = rule.slice > 0;
  Lanes total{}, drift{}, energy{}, largest{};
  if (sliced) std::memcpy(&total, start, sizeof total);
  const Lanes bias = total;
  Group group;
  int64_t at = 0;
  // As sim/device.h declares: the first splits are the longer ones, and f32 additions join them.
  for (int64_t split = 0; at < k && (sliced || split < rule.splits); ++split) {
    const int64_t own = steps / rule.splits + (split < steps % rule.splits ? 1 : 0);
    const int64_t end = std::min(k, at + (sliced ? rule.slice : own * rule.step));
    Chain chain{Lanes{}, Lanes{} + kEndless, drift, energy, largest};
    if (split == 0 && !sliced) set_start(start, chain);
    for (; at < end; at += group.count) {
      group.count = std::min(rule.group, end - at);
      multiply(w, x, at, group);
      add_group(rule, group, chain);
    }
    total += chain.sum;
    drift = chain.drift;
    energy = chain.energy;
    largest = chain.largest;
    const Lanes rounded = total * bounds::kU;
    energy += split > 0 ? rounded * rounded : bias == 0.0 ? Lanes{} : rounded * rounded;
  }
  std::memcpy(out.sum, &total, sizeof total);
  std::memcpy(out.drift, &drift, sizeof drift);
  std::memcpy(out.energy, &energy, sizeof energy);
  std::memcpy(out.largest, &largest, sizeof largest);
}

}  // namespace greta
