#pragma once
// rule.cpp over 16 columns; the including file gives the lanes and their namespace, GRETA_ISA. A term of a
// fused sum is an integer here: a significand with 14 fractional bits, so that a product of two has 28 in 31
// bits, and an exponent. Shifting its magnitude right truncates it as the rule says. Terms add up in 32 bits
// as far as they fit, then in doubles, exactly.
//
// Lanes that hold NaN, infinity or a term near the end of the range are done by the scalar form afterwards:
// they show as a largest exponent of kLargest or more.

#include "sim/block_form.h"

namespace greta::sim::GRETA_ISA {
namespace {

constexpr int kLanes = 16;
constexpr int kProductBits = 28;
constexpr int kSpecial = 1000;  // exponent of NaN and infinity; times zero (-300) still above kLargest
constexpr int kLargest = 120;   // 33 terms below 4 * 2^120 don't overflow f32

struct Split {
  i32x16 magnitude;  // 23 fractional bits
  i32x16 exponent;
  i32x16 bits;  // has the sign
};

/// 1 <= significand < 2, but subnormals of the format keep `min_exponent`.
GRETA_LANE Split split(f32x16 x, int min_exponent, int zero_exponent) {
  const i32x16 bits = bits_of(x), zero(0);
  const i32x16 field = shift_right<23>(bits) & i32x16(255), mantissa = bits & i32x16(0x7fffff);
  i32x16 magnitude = select(equal(field, zero), mantissa, mantissa | i32x16(1 << 23));
  i32x16 exponent = max(field, i32x16(1)) - i32x16(127);
  const i32x16 below = max(i32x16(min_exponent) - exponent, zero);
  magnitude = shift_right(magnitude, below);
  exponent = select(equal(magnitude, zero), i32x16(zero_exponent), exponent + below);
  exponent = select(equal(field, i32x16(255)), i32x16(kSpecial), exponent);
  return {magnitude, exponent, bits | i32x16(1)};
}

GRETA_LANE f32x16 read_16(const ElementsToRead& r, int64_t i) {
  const char* bytes = static_cast<const char*>(r.bits);
  const auto word = [&]() __attribute__((always_inline)) {
    return load(reinterpret_cast<const float*>(bytes + 4 * i));
  };
  switch (r.element) {
    case units::Element::f32: return word();
    case units::Element::tf32: return floats_of(bits_of(word()) & i32x16(static_cast<int32_t>(0xffffe000)));
    case units::Element::f16: return load_f16(bytes + 2 * i);
    case units::Element::bf16: return floats_of(shift_left<16>(load_u16(bytes + 2 * i)));
    default: return look_up_u8(bytes + i, r.table);
  }
}

/// 2^exponent
GRETA_LANE f32x16 smallest_normal(int exponent) { return floats_of(i32x16((exponent + 127) << 23)); }

void read(const ElementsToRead& r) {
  for (int64_t i = 0; i < r.count; i += kLanes) {
    f32x16 x = read_16(r, i);
    if (r.flush) x = select(magnitude_below(x, smallest_normal(r.min_exponent)), f32x16(0), x);
    store(r.value + i, x);
    if (r.significand == nullptr) continue;
    const Split s = split(x, r.min_exponent, r.zero_exponent);
    const i32x16 significand = with_sign_of(shift_right<23 - kProductBits / 2>(s.magnitude), s.bits);
    store(r.significand + i, significand & i32x16(0xffff));
    store(r.exponent + i, s.exponent);
  }
}

/// The products of one row of A with 16 columns of B, from some k on.
struct Products {
  const int32_t *a_significand, *a_exponent, *b_significand, *b_exponent;
};

GRETA_LANE Products from(const Product& p, int64_t row, int64_t k) {
  const int64_t a = row * p.k + k, b = k * kLanes;
  return {p.a.significand + a, p.a.exponent + a, p.b.significand + b, p.b.exponent + b};
}

GRETA_LANE i32x16 exponent(const Products& p, int i) {
  return i32x16(p.a_exponent[i]) + load(p.b_exponent + i * kLanes);
}

GRETA_LANE i32x16 largest_exponent(const Products& p, int first, int end, int step) {
  i32x16 largest = exponent(p, first);
  for (int i = first + step; i < end; i += step) largest = max(largest, exponent(p, i));
  return largest;
}

/// `sum` plus products aligned to `largest`, truncated to `fraction_bits`.
GRETA_LANE i32x16 add_aligned(const Products& p, int first, int end, int step, i32x16 largest,
                              int fraction_bits, i32x16 sum) {
  const i32x16 base = largest + i32x16(kProductBits - fraction_bits);
  for (int i = first; i < end; i += step) {
    const i32x16 product = multiply_16(i32x16(p.a_significand[i]), load(p.b_significand + i * kLanes));
    sum = sum + with_sign_of(shift_right(abs(product), base - exponent(p, i)), product);
  }
  return sum;
}

/// Lanes that the vector code can't do, from the running sums before this group.
__attribute__((noinline, cold)) void redo(const Product& p, int64_t row, int64_t k, unsigned lanes,
                                          const float* before, float* after) {
  for (int j = 0; j < kLanes; ++j) {
    if (lanes >> j & 1) {
      after[j] = p.add_group(*p.instruction, p.a.value + row * p.k + k, p.b.value + k * kLanes + j, kLanes,
                             before[j]);
    }
  }
}

GRETA_LANE f32x16 with_redone(const Product& p, int64_t row, int64_t k, i32x16 largest, f32x16 before,
                              f32x16 after) {
  const unsigned lanes = lanes_of(greater(largest, i32x16(kLargest - 1)));
  if (__builtin_expect(lanes == 0, 1)) return after;
  float sums[kLanes], results[kLanes];
  store(sums, before);
  store(results, after);
  redo(p, row, k, lanes, sums, results);
  return load(results);
}

/// Never -0.
template <units::Output kOutput>
GRETA_LANE f32x16 round_output(f64x16 x) {
  const f32x16 zero(0);
  if constexpr (kOutput == units::Output::f16_nearest) return to_nearest_f16(x) + zero;
  const f32x16 result = toward_zero(x);
  if constexpr (kOutput == units::Output::f32_truncated) return result + zero;
  return floats_of(bits_of(result) & i32x16(~1023)) + zero;
}

template <units::Output kOutput>
GRETA_LANE f32x16 add_fused(const Product& p, int64_t row, int64_t k, f32x16 before) {
  const int group = p.instruction->group, fraction_bits = p.instruction->fraction_bits;
  const int chunk = 1 << (kProductBits - fraction_bits);  // so many, and c, add up in 32 bits
  const Products products = from(p, row, k);
  const Split c = split(before, p.sum_min_exponent, units::kZeroPublished);
  const i32x16 largest = max(largest_exponent(products, 0, group, 1), c.exponent);
  const i32x16 shift = largest + i32x16(30 - fraction_bits) - c.exponent;
  const i32x16 aligned = with_sign_of(shift_right(shift_left<7>(c.magnitude), shift), c.bits);
  const int first = group < chunk ? group : chunk;
  f64x16 sum = doubles(add_aligned(products, 0, first, 1, largest, fraction_bits, aligned));
  for (int i = first; i < group; i += chunk) {
    const int end = group - i < chunk ? group : i + chunk;
    sum = sum + doubles(add_aligned(products, i, end, 1, largest, fraction_bits, i32x16(0)));
  }
  const f64x16 value = sum * power_of_two(largest - i32x16(fraction_bits));
  return with_redone(p, row, k, largest, before, round_output<kOutput>(value));
}

struct FusedSum {
  i32x16 sum, exponent;
};

template <bool kFp8>
GRETA_LANE FusedSum fuse(const Products& p, int group, int fraction_bits) {
  const i32x16 zero(0);
  if constexpr (!kFp8) {
    const i32x16 largest = largest_exponent(p, 0, group, 1);
    return {add_aligned(p, 0, group, 1, largest, fraction_bits, zero), largest};
  }
  const i32x16 even = largest_exponent(p, 0, group, 2), odd = largest_exponent(p, 1, group, 2);
  const i32x16 largest = max(even, odd);
  const i32x16 even_sum = add_aligned(p, 0, group, 2, even, fraction_bits, zero),
               odd_sum = add_aligned(p, 1, group, 2, odd, fraction_bits, zero);
  return {shift_right_signed(even_sum, largest - even) + shift_right_signed(odd_sum, largest - odd), largest};
}

/// The products' sum is floored at 31 fractional bits, the running sum at 24: in doubles, in units of 2^-31.
template <bool kFp8>
GRETA_LANE f32x16 add_floored(const Product& p, int64_t row, int64_t k, f32x16 before) {
  const FusedSum fused = fuse<kFp8>(from(p, row, k), p.instruction->group, p.instruction->fraction_bits);
  const Split c = split(before, p.sum_min_exponent, units::kZeroPublished);
  const i32x16 largest = max(fused.exponent, c.exponent), c_shift = largest - c.exponent;
  i32x16 c_sum = shift_right_signed(with_sign_of(shift_left<1>(c.magnitude), c.bits), c_shift);
  if constexpr (kFp8) c_sum = select(greater(c_shift, i32x16(25)), i32x16(0), c_sum);
  const f64x16 products = floor(doubles(fused.sum) * power_of_two(fused.exponent - largest + i32x16(7)));
  const f64x16 sum = products + doubles(c_sum) * 128.0;
  return with_redone(p, row, k, largest, before, to_nearest(sum * power_of_two(largest - i32x16(31))));
}

template <class Step>
GRETA_LANE void for_groups_of_row(const Product& p, int64_t row, const Step& step) {
  float* acc = p.acc + row * p.acc_stride;
  f32x16 sum = load(acc);
  for (int64_t k = 0; k < p.k; k += p.instruction->group) sum = step(row, k, sum);
  store(acc, sum);
}

/// Two rows at once: a group's sum waits for that of the group before,
/// and the other row's work fills the time.
template <class Step>
GRETA_LANE void for_groups(const Product& p, const Step& step) {
  int64_t row = 0;
  for (; row + 1 < p.rows; row += 2) {
    float *even = p.acc + row * p.acc_stride, *odd = even + p.acc_stride;
    f32x16 even_sum = load(even), odd_sum = load(odd);
    for (int64_t k = 0; k < p.k; k += p.instruction->group) {
      even_sum = step(row, k, even_sum);
      odd_sum = step(row + 1, k, odd_sum);
    }
    store(even, even_sum);
    store(odd, odd_sum);
  }
  if (row < p.rows) for_groups_of_row(p, row, step);
}

GRETA_LANE mask16 subnormal(f32x16 x) { return magnitude_below(x, smallest_normal(-126)); }

/// Subnormals become zeros that keep their sign.
GRETA_LANE f32x16 flushed(f32x16 x, bool flush) {
  if (!flush) return x;
  return select(subnormal(x), floats_of(bits_of(x) & i32x16(INT32_MIN)), x);
}

GRETA_LANE f32x16 leaf(const Product& p, int64_t row, int64_t k) {
  const f32x16 a(p.a.value[row * p.k + k]);
  return flushed(fma(a, load(p.b.value + k * kLanes), f32x16(0)), p.instruction->flush);
}

GRETA_LANE f32x16 tree(const Product& p, int64_t row, int64_t k, int count) {
  const f32x16 first = leaf(p, row, k);
  if (count == 1) return first;
  const bool flush = p.instruction->flush;
  const f32x16 left = flushed(first + leaf(p, row, k + 1), flush);
  if (count == 2) return left;
  const f32x16 right = flushed(leaf(p, row, k + 2) + leaf(p, row, k + 3), flush);
  return flushed(left + right, flush);
}

GRETA_LANE f32x16 add_tree(const Product& p, int64_t row, int64_t k, f32x16 sum) {
  const bool flush = p.instruction->flush;
  // An instruction reads a subnormal or -0 sum as +0.
  if (flush && k % p.instruction->k == 0) sum = select(subnormal(sum), f32x16(0), sum);
  return flushed(sum + tree(p, row, k, p.instruction->group), flush);
}

/// Sums of f32 operations: NaN stays NaN, so the lanes that end in one are done again with its right bits.
template <class Step>
GRETA_LANE void for_chains(const Product& p, const Step& step) {
  for (int64_t row = 0; row < p.rows; ++row) {
    float* acc = p.acc + row * p.acc_stride;
    float before[kLanes];
    f32x16 sum = load(acc);
    store(before, sum);
    for (int64_t k = 0; k < p.k; k += p.instruction->group) sum = step(row, k, sum);
    store(acc, sum);
    const unsigned nan = lanes_of(is_nan(sum));
    for (int j = 0; nan != 0 && j < kLanes; ++j) {
      if (nan >> j & 1)
        acc[j] = p.dot(*p.instruction, p.a.value + row * p.k, p.b.value + j, kLanes, p.k, before[j]);
    }
  }
}

#define GRETA_STEP(call) \
  [&](int64_t row, int64_t k, f32x16 sum) __attribute__((always_inline)) { return call; }

void multiply(const Product& p) {
  switch (p.instruction->rule) {
    case units::Rule::fma_chain:
      return for_chains(p,
                        GRETA_STEP(fma(f32x16(p.a.value[row * p.k + k]), load(p.b.value + k * kLanes), sum)));
    case units::Rule::pairwise: return for_chains(p, GRETA_STEP(add_tree(p, row, k, sum)));
    case units::Rule::floored: return for_groups(p, GRETA_STEP(add_floored<false>(p, row, k, sum)));
    case units::Rule::floored_fp8: return for_groups(p, GRETA_STEP(add_floored<true>(p, row, k, sum)));
    case units::Rule::fused: break;
    case units::Rule::two_f16: return;  // block.cpp has no vector form of it
  }
  switch (p.instruction->output) {
    case units::Output::f16_nearest:
      return for_groups(p, GRETA_STEP(add_fused<units::Output::f16_nearest>(p, row, k, sum)));
    case units::Output::f32_truncated_13:
      return for_groups(p, GRETA_STEP(add_fused<units::Output::f32_truncated_13>(p, row, k, sum)));
    default: return for_groups(p, GRETA_STEP(add_fused<units::Output::f32_truncated>(p, row, k, sum)));
  }
}

#undef GRETA_STEP

}  // namespace
}  // namespace greta::sim::GRETA_ISA
