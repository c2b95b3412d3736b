#include "sim/rule.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "base/half.h"

namespace greta::sim {
namespace {

constexpr int kMostTerms = 33;  // 32 products and the running sum

/// x = significand * 2^exponent, 1 <= |significand| < 2; a subnormal keeps its format's smallest exponent.
struct Term {
  double significand;
  int exponent;
};

Term split(float x, int min_exponent, int zero_exponent) {
  if (x == 0) return {0, zero_exponent};
  const int exponent = std::max(std::ilogb(x), min_exponent);
  return {std::ldexp(static_cast<double>(x), -exponent), exponent};
}

Term split_sum(const units::Instruction& instruction, float sum) {
  return split(sum, info(instruction.d).min_exponent, units::kZeroPublished);
}

/// As the adder sees an element of A or B.
Term split_input(const units::Instruction& instruction, units::Element element, float x) {
  const units::Element seen = instruction.rule == units::Rule::two_f16 ? units::Element::f16 : element;
  return split(x, info(seen).min_exponent, instruction.zero_exponent);
}

/// Products count unnormalised: 1 <= |significand| < 4.
Term product(const units::Instruction& instruction, float a, float b) {
  const Term x = split_input(instruction, instruction.a, a), y = split_input(instruction, instruction.b, b);
  return {x.significand * y.significand, x.exponent + y.exponent};
}

/// How many bits an aligned term keeps, and whether the others round to nearest even.
struct Cut {
  int fraction_bits;
  bool nearest;
};

Cut cut_of(const units::Instruction& instruction) { return {instruction.fraction_bits, instruction.nearest}; }

double truncate_at(Cut cut, double x) {
  const double scaled = std::ldexp(x, cut.fraction_bits);
  return std::ldexp(cut.nearest ? std::nearbyint(scaled) : std::trunc(scaled), -cut.fraction_bits);
}

double floor_at(Cut cut, double x) {
  const double scaled = std::ldexp(x, cut.fraction_bits);
  return std::ldexp(cut.nearest ? std::nearbyint(scaled) : std::floor(scaled), -cut.fraction_bits);
}

/// The significand of `term` at a larger exponent.
double align(const Term& term, int exponent) {
  return std::ldexp(term.significand, term.exponent - exponent);
}

/// Terms aligned to the largest exponent, truncated, added exactly (a double has room).
Term fused_sum(std::span<const Term> terms, Cut cut) {
  Term sum{0, terms[0].exponent};
  for (const Term& term : terms) sum.exponent = std::max(sum.exponent, term.exponent);
  for (const Term& term : terms) sum.significand += truncate_at(cut, align(term, sum.exponent));
  return sum;
}

double value(const Term& term) { return std::ldexp(term.significand, term.exponent); }

/// To nearest even; what is too large becomes infinity.
float nearest(double x) {
  constexpr double kLimit = 0x1.ffffffp127;  // half an ULP above the largest f32
  return static_cast<float>(std::abs(x) >= kLimit ? std::copysign(HUGE_VAL, x) : x);
}

/// NVIDIA's outputs: never -0.
float round_output(const Term& sum, units::Output output, bool nearest) {
  const int min_exponent = output == units::Output::f16_nearest ? -14 : -126;
  const int fraction_bits = output == units::Output::f16_nearest        ? 10
                            : output == units::Output::f32_truncated_13 ? 13
                                                                        : 23;
  const double x = value(sum);
  if (x == 0) return 0;
  const int exponent = std::max(std::ilogb(x), min_exponent);
  const double scaled = std::ldexp(x, fraction_bits - exponent);
  const bool to_nearest = nearest || output == units::Output::f16_nearest;
  const double whole = to_nearest ? std::nearbyint(scaled) : std::trunc(scaled);
  const double rounded = std::ldexp(whole, exponent - fraction_bits) + 0.0;
  const double limit = output == units::Output::f16_nearest ? 0x1p16 : 0x1p128;
  if (std::abs(rounded) >= limit) return static_cast<float>(std::copysign(HUGE_VAL, rounded));
  return static_cast<float>(rounded);
}

bool is_nan(float x) { return x != x; }

float quiet(float nan) { return std::bit_cast<float>(std::bit_cast<uint32_t>(nan) | 0x00400000u); }

/// What an invalid operation gives on x86, where the published model runs.
const float kInvalid = std::bit_cast<float>(0xffc00000u);
/// The one NaN that NVIDIA's units write.
const float kNvidiaNan = std::bit_cast<float>(0x7fffffffu);

bool is_nvidia(units::Rule rule) { return rule == units::Rule::fused || rule == units::Rule::two_f16; }

/// AMD: the first NaN operand made quiet, else that of an invalid operation.
float nan_of(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
             float sum) {
  if (is_nvidia(instruction.rule)) return kNvidiaNan;
  for (int i = 0; i < instruction.group; ++i) {
    if (is_nan(a[i])) return quiet(a[i]);
    if (is_nan(b[i * b_stride])) return quiet(b[i * b_stride]);
  }
  return is_nan(sum) ? quiet(sum) : kInvalid;
}

float flush(const units::Instruction& instruction, float x) {
  return instruction.flush && std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}

float pairwise_dot(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
                   int count) {
  if (count == 1) return flush(instruction, std::fma(*a, *b, 0.0f));
  const int half = count / 2;
  const float left = pairwise_dot(instruction, a, b, b_stride, half);
  const float right = pairwise_dot(instruction, a + half, b + half * b_stride, b_stride, count - half);
  return flush(instruction, std::fma(left, 1.0f, right));
}

/// CDNA3, from the fused sum of the products, which keeps 7 bits more than the running sum.
float add_floored(const Term& products, const Term& sum, Cut cut, bool drop_small_sum) {
  const int exponent = std::max(products.exponent, sum.exponent);
  const bool dropped = drop_small_sum && sum.exponent < exponent - 25;
  const double c = dropped ? 0 : floor_at(cut, align(sum, exponent));
  const double p = floor_at({cut.fraction_bits + 7, cut.nearest}, align(products, exponent));
  return nearest(std::ldexp(p + c, exponent));
}

/// Even and odd products apart, both floored at the larger exponent.
Term fused_even_odd(std::span<const Term> products, Cut cut) {
  std::array<Term, kMostTerms> half;
  Term sums[2];
  for (size_t odd = 0; odd < 2; ++odd) {
    const size_t count = products.size() / 2;
    for (size_t i = 0; i < count; ++i) half[i] = products[2 * i + odd];
    sums[odd] = fused_sum(std::span(half).first(count), cut);
  }
  const int exponent = std::max(sums[0].exponent, sums[1].exponent);
  return {floor_at(cut, align(sums[0], exponent)) + floor_at(cut, align(sums[1], exponent)), exponent};
}

/// A result that the terms alone decide: the f64 sum where it is not finite; on CDNA3 also that of the
/// products of 2^128 and more, which count as infinities there.
std::optional<float> special_result(const units::Instruction& instruction, const float* a, const float* b,
                                    int64_t b_stride, int count, float sum) {
  double all = 0, large = 0;
  for (int i = 0; i < count; ++i) {
    const double p = static_cast<double>(a[i]) * static_cast<double>(b[i * b_stride]);
    all += p;
    if (std::abs(p) >= 0x1p128) large += std::copysign(HUGE_VAL, p);
  }
  all += static_cast<double>(sum);
  if (std::isnan(all)) return nan_of(instruction, a, b, b_stride, sum);
  if (std::isinf(all)) return static_cast<float>(all);
  if (is_nvidia(instruction.rule) || large == 0) return std::nullopt;
  return std::isnan(large) ? std::bit_cast<float>(0x7fc00000u) : static_cast<float>(large);
}

/// `product_count` products and the running sum.
float add_fused(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
                int product_count, float sum) {
  if (const auto special = special_result(instruction, a, b, b_stride, product_count, sum)) return *special;
  std::array<Term, kMostTerms> terms;
  size_t count = 0;
  for (int i = 0; i < product_count; ++i) terms[count++] = product(instruction, a[i], b[i * b_stride]);
  const Term c = split_sum(instruction, sum);
  const Cut cut = cut_of(instruction);
  if (is_nvidia(instruction.rule)) {
    terms[count++] = c;
    return round_output(fused_sum(std::span(terms).first(count), cut), instruction.output, cut.nearest);
  }
  const auto products = std::span<const Term>(terms).first(count);
  if (instruction.rule == units::Rule::floored) return add_floored(fused_sum(products, cut), c, cut, false);
  return add_floored(fused_even_odd(products, cut), c, cut, true);
}

/// Two f16 instructions from zero: a register holds four fp8 elements, and its low pair goes first.
float add_two_f16(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
                  float sum) {
  float chain = 0;
  for (int pair = 0; pair < 2; ++pair) {
    std::array<float, kMostTerms> x, y;
    int count = 0;
    for (int i = 0; i < instruction.group; ++i) {
      if (i % 4 / 2 != pair) continue;
      x[static_cast<size_t>(count)] = a[i];
      y[static_cast<size_t>(count++)] = b[i * b_stride];
    }
    chain = add_fused(instruction, x.data(), y.data(), 1, count, chain);
  }
  const float result = chain + sum;  // D in f16: a sum of two f16, which f32 rounds without harm
  if (is_nan(result)) return kNvidiaNan;
  return instruction.d == units::Element::f16 ? f16_to_f32(f32_to_f16(result)) : result;
}

}  // namespace

float read_input(const units::Instruction& instruction, units::Element element, uint32_t bits) {
  const float x = to_f32(element, bits);
  const bool subnormal = std::abs(x) < std::ldexp(1.0f, info(element).min_exponent);
  return instruction.flush && subnormal ? 0 : x;
}

float read_sum(const units::Instruction& instruction, float c) {
  return instruction.flush && std::abs(c) < 0x1p-126f ? 0 : c;
}

float add_group(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
                float sum) {
  float result = 0;
  switch (instruction.rule) {
    case units::Rule::fma_chain: result = std::fma(*a, *b, sum); break;
    case units::Rule::pairwise:
      result = flush(instruction, sum + pairwise_dot(instruction, a, b, b_stride, instruction.group));
      break;
    case units::Rule::two_f16: return add_two_f16(instruction, a, b, b_stride, sum);
    default: return add_fused(instruction, a, b, b_stride, instruction.group, sum);
  }
  return is_nan(result) ? nan_of(instruction, a, b, b_stride, sum) : result;
}

float dot(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride, int64_t k,
          float c) {
  float sum = c;
  for (int64_t i = 0; i < k; i += instruction.group) {
    if (i % instruction.k == 0) sum = read_sum(instruction, sum);
    sum = add_group(instruction, a + i, b + i * b_stride, b_stride, sum);
  }
  return sum;
}

}  // namespace greta::sim
