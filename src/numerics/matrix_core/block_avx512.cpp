// rule.cpp over 16 columns with AVX-512. A term of a fused sum is an integer here: a significand with 14
// fractional bits, so that a product of two has 28 in 31 bits, and an exponent. Shifting its magnitude right
// truncates it as the rule says; 8 terms add up in 32 bits (8 * 4 * 2^25 <= 2^30), more in 64.
//
// Lanes that hold NaN, infinity or (CDNA3) a product near 2^128 are done by the scalar form afterwards: such
// operands carry the exponent kSpecial, and show as a largest exponent beyond any other.

#include <immintrin.h>

#include "numerics/matrix_core/block_form.h"

#define GRETA_LANE static inline __attribute__((always_inline))

namespace greta::mma {
namespace {

constexpr int kLanes = 16;
constexpr int kProductBits = 28;
constexpr int kSpecial = 1000;  // exponent of NaN and infinity; times zero (-126) still above kLargest
constexpr int kLargest = 500;   // above every finite term's exponent
constexpr int kChunk = 8;       // terms that add up in 32 bits

GRETA_LANE __m512i set(int32_t x) { return _mm512_set1_epi32(x); }
GRETA_LANE __m512i load(const int32_t* p) { return _mm512_loadu_si512(p); }

struct Split {
  __m512i magnitude;  // 23 fractional bits
  __m512i exponent;
  __m512i sign;  // 0 or -1
};

/// 1 <= significand < 2, but subnormals of the format keep `min_exponent`; zero has -126.
GRETA_LANE Split split(__m512 x, int min_exponent) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i field = _mm512_and_si512(_mm512_srli_epi32(bits, 23), set(255));
  const __m512i mantissa = _mm512_and_si512(bits, set(0x7fffff));
  const __mmask16 normal = _mm512_test_epi32_mask(field, field);
  __m512i magnitude = _mm512_mask_or_epi32(mantissa, normal, mantissa, set(1 << 23));
  __m512i exponent = _mm512_sub_epi32(_mm512_max_epi32(field, set(1)), set(127));
  const __m512i below = _mm512_max_epi32(_mm512_sub_epi32(set(min_exponent), exponent), set(0));
  magnitude = _mm512_srlv_epi32(magnitude, below);
  exponent = _mm512_add_epi32(exponent, below);
  const __mmask16 zero = _mm512_testn_epi32_mask(magnitude, magnitude);
  exponent = _mm512_mask_mov_epi32(exponent, zero, set(-126));
  const __mmask16 special = _mm512_cmpeq_epi32_mask(field, set(255));
  exponent = _mm512_mask_mov_epi32(exponent, special, set(kSpecial));
  return {magnitude, exponent, _mm512_srai_epi32(bits, 31)};
}

GRETA_LANE __m512i with_sign(__m512i magnitude, __m512i sign) {
  return _mm512_sub_epi32(_mm512_xor_si512(magnitude, sign), sign);
}

GRETA_LANE __m512 read_bits(const ElementsToRead& r, int64_t i) {
  const char* bytes = static_cast<const char*>(r.bits);
  switch (r.element) {
    case Element::f32: return _mm512_loadu_ps(bytes + 4 * i);
    case Element::tf32:
      return _mm512_castsi512_ps(
          _mm512_and_si512(_mm512_loadu_si512(bytes + 4 * i), set(static_cast<int32_t>(0xffffe000))));
    case Element::f16:
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 2 * i)));
    case Element::bf16:
      return _mm512_castsi512_ps(_mm512_slli_epi32(
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 2 * i))), 16));
    default:
      return _mm512_i32gather_ps(
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i))), r.table, 4);
  }
}

/// 2^min_exponent
GRETA_LANE __m512 smallest_normal(int min_exponent) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(set(min_exponent + 127), 23));
}

void read(const ElementsToRead& r) {
  for (int64_t i = 0; i < r.count; i += kLanes) {
    __m512 x = read_bits(r, i);
    if (r.flush) {
      const __mmask16 subnormal =
          _mm512_cmp_ps_mask(_mm512_abs_ps(x), smallest_normal(r.min_exponent), _CMP_LT_OQ);
      x = _mm512_mask_mov_ps(x, subnormal, _mm512_setzero_ps());
    }
    _mm512_storeu_ps(r.value + i, x);
    if (r.significand == nullptr) continue;
    const Split s = split(x, r.min_exponent);
    const __m512i significand = with_sign(_mm512_srli_epi32(s.magnitude, 23 - kProductBits / 2), s.sign);
    _mm512_storeu_si512(r.significand + i, _mm512_and_si512(significand, set(0xffff)));
    _mm512_storeu_si512(r.exponent + i, s.exponent);
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

GRETA_LANE __m512i exponent(const Products& p, int i) {
  return _mm512_add_epi32(set(p.a_exponent[i]), load(p.b_exponent + i * kLanes));
}

GRETA_LANE __m512i largest_exponent(const Products& p, int first, int end, int step) {
  __m512i largest = exponent(p, first);
  for (int i = first + step; i < end; i += step) largest = _mm512_max_epi32(largest, exponent(p, i));
  return largest;
}

/// Products aligned to `largest`, truncated to `fraction_bits`: at most kChunk of them.
GRETA_LANE __m512i sum_aligned(const Products& p, int first, int end, int step, __m512i largest,
                               int fraction_bits) {
  const __m512i base = _mm512_add_epi32(largest, set(kProductBits - fraction_bits));
  __m512i sum = _mm512_setzero_si512();
  for (int i = first; i < end; i += step) {
    const __m512i product = _mm512_madd_epi16(set(p.a_significand[i]), load(p.b_significand + i * kLanes));
    const __m512i shift = _mm512_sub_epi32(base, exponent(p, i));
    const __m512i aligned = _mm512_srlv_epi32(_mm512_abs_epi32(product), shift);
    sum = _mm512_add_epi32(sum, with_sign(aligned, _mm512_srai_epi32(product, 31)));
  }
  return sum;
}

struct Wide {
  __m512i low, high;  // 8 lanes of 64 bits each
};

GRETA_LANE Wide widen(__m512i x) {
  return {_mm512_cvtepi32_epi64(_mm512_castsi512_si256(x)),
          _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(x, 1))};
}

GRETA_LANE Wide add(const Wide& x, const Wide& y) {
  return {_mm512_add_epi64(x.low, y.low), _mm512_add_epi64(x.high, y.high)};
}

/// 8 values sum * 2^exponent, exact.
GRETA_LANE __m512d scaled(__m512i sum, __m512i exponent64) {
  const __m512i bits = _mm512_slli_epi64(_mm512_add_epi64(exponent64, _mm512_set1_epi64(1023)), 52);
  return _mm512_mul_pd(_mm512_cvtepi64_pd(sum), _mm512_castsi512_pd(bits));
}

GRETA_LANE __m512 join(__m256 low, __m256 high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
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

GRETA_LANE __m512 with_redone(const Product& p, int64_t row, int64_t k, __mmask16 lanes, __m512 before,
                              __m512 after) {
  if (__builtin_expect(lanes == 0, 1)) return after;
  float sums[kLanes], results[kLanes];
  _mm512_storeu_ps(sums, before);
  _mm512_storeu_ps(results, after);
  redo(p, row, k, lanes, sums, results);
  return _mm512_loadu_ps(results);
}

/// f64 -> f32 toward zero; beyond the range to infinity.
GRETA_LANE __m256 truncated(__m512d x) {
  const __m256 result = _mm512_cvt_roundpd_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __mmask8 beyond = _mm512_cmp_pd_mask(_mm512_abs_pd(x), _mm512_set1_pd(0x1p128), _CMP_GE_OQ);
  return _mm256_castsi256_ps(_mm256_mask_add_epi32(_mm256_castps_si256(result), beyond,
                                                   _mm256_castps_si256(result), _mm256_set1_epi32(1)));
}

/// f64 -> f16 -> f32, to nearest even: by way of an f32 rounded to odd, so that it is rounded once.
GRETA_LANE __m256 nearest_f16(__m512d x) {
  const __m256 cut = _mm512_cvt_roundpd_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(cut), x, _CMP_NEQ_OQ);
  const __m256i odd =
      _mm256_mask_or_epi32(_mm256_castps_si256(cut), inexact, _mm256_castps_si256(cut), _mm256_set1_epi32(1));
  return _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_castsi256_ps(odd), _MM_FROUND_TO_NEAREST_INT));
}

GRETA_LANE __m512 no_negative_zero(__m512 x) {
  const __mmask16 zero = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_OQ);
  return _mm512_mask_mov_ps(x, zero, _mm512_setzero_ps());
}

template <Output kOutput>
GRETA_LANE __m512 round_output(const Wide& sum, __m512i largest, int fraction_bits) {
  const Wide exponent = widen(_mm512_sub_epi32(largest, set(fraction_bits)));
  const __m512d low = scaled(sum.low, exponent.low), high = scaled(sum.high, exponent.high);
  if constexpr (kOutput == Output::f16_nearest)
    return no_negative_zero(join(nearest_f16(low), nearest_f16(high)));
  __m512 result = join(truncated(low), truncated(high));
  if constexpr (kOutput == Output::f32_truncated_13) {
    result = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(result), set(~1023)));
  }
  return no_negative_zero(result);
}

template <Output kOutput>
GRETA_LANE __m512 add_fused(const Product& p, int64_t row, int64_t k, __m512 before) {
  const int group = p.instruction->group, fraction_bits = p.instruction->fraction_bits;
  const Products products = from(p, row, k);
  const Split c = split(before, p.sum_min_exponent);
  const __m512i largest = _mm512_max_epi32(largest_exponent(products, 0, group, 1), c.exponent);
  const __m512i shift = _mm512_sub_epi32(_mm512_add_epi32(largest, set(30 - fraction_bits)), c.exponent);
  Wide sum = widen(with_sign(_mm512_srlv_epi32(_mm512_slli_epi32(c.magnitude, 7), shift), c.sign));
  for (int i = 0; i < group; i += kChunk) {
    const int end = group - i < kChunk ? group : i + kChunk;
    sum = add(sum, widen(sum_aligned(products, i, end, 1, largest, fraction_bits)));
  }
  const __mmask16 special = _mm512_cmpge_epi32_mask(largest, set(kLargest));
  return with_redone(p, row, k, special, before, round_output<kOutput>(sum, largest, fraction_bits));
}

/// 64-bit lanes of x with 24 fractional bits, floored at 31 fractional bits of a larger exponent.
GRETA_LANE __m512i floor_31(__m512i x, __m512i shift64) {
  return _mm512_srav_epi64(_mm512_slli_epi64(x, 7), shift64);
}

struct FusedSum {
  __m512i sum, exponent;
};

template <bool kFp8>
GRETA_LANE FusedSum fuse(const Products& p, int group, int fraction_bits) {
  if constexpr (!kFp8) {
    const __m512i largest = largest_exponent(p, 0, group, 1);
    return {sum_aligned(p, 0, group, 1, largest, fraction_bits), largest};
  }
  const __m512i even = largest_exponent(p, 0, group, 2), odd = largest_exponent(p, 1, group, 2);
  const __m512i largest = _mm512_max_epi32(even, odd);
  const __m512i sums[2] = {sum_aligned(p, 0, group, 2, even, fraction_bits),
                           sum_aligned(p, 1, group, 2, odd, fraction_bits)};
  return {_mm512_add_epi32(_mm512_srav_epi32(sums[0], _mm512_sub_epi32(largest, even)),
                           _mm512_srav_epi32(sums[1], _mm512_sub_epi32(largest, odd))),
          largest};
}

template <bool kFp8>
GRETA_LANE __m512 add_floored(const Product& p, int64_t row, int64_t k, __m512 before) {
  const FusedSum fused = fuse<kFp8>(from(p, row, k), p.instruction->group, p.instruction->fraction_bits);
  const Split c = split(before, p.sum_min_exponent);
  const __m512i largest = _mm512_max_epi32(fused.exponent, c.exponent);
  const __m512i c_shift = _mm512_sub_epi32(largest, c.exponent);
  __m512i c_sum = _mm512_srav_epi32(with_sign(_mm512_slli_epi32(c.magnitude, 1), c.sign), c_shift);
  if constexpr (kFp8) c_sum = _mm512_mask_mov_epi32(c_sum, _mm512_cmpgt_epi32_mask(c_shift, set(25)), set(0));
  const Wide terms = widen(fused.sum), shift = widen(_mm512_sub_epi32(largest, fused.exponent));
  const Wide c_wide = widen(c_sum), exponent = widen(_mm512_sub_epi32(largest, set(31)));
  const __m512i low = _mm512_add_epi64(floor_31(terms.low, shift.low), _mm512_slli_epi64(c_wide.low, 7));
  const __m512i high = _mm512_add_epi64(floor_31(terms.high, shift.high), _mm512_slli_epi64(c_wide.high, 7));
  const __m512 after =
      join(_mm512_cvtpd_ps(scaled(low, exponent.low)), _mm512_cvtpd_ps(scaled(high, exponent.high)));
  // A product is below 4 * 2^126 when its exponent is below 127.
  const __mmask16 special =
      _mm512_cmpge_epi32_mask(fused.exponent, set(127)) | _mm512_cmpge_epi32_mask(c.exponent, set(kLargest));
  return with_redone(p, row, k, special, before, after);
}

template <class Step>
GRETA_LANE void for_groups(const Product& p, const Step& step) {
  for (int64_t row = 0; row < p.rows; ++row) {
    float* acc = p.acc + row * p.acc_stride;
    __m512 sum = _mm512_loadu_ps(acc);
    for (int64_t k = 0; k < p.k; k += p.instruction->group) sum = step(row, k, sum);
    _mm512_storeu_ps(acc, sum);
  }
}

/// Subnormals become zeros that keep their sign.
GRETA_LANE __m512 flushed(__m512 x, bool flush) {
  if (!flush) return x;
  const __mmask16 subnormal = _mm512_cmp_ps_mask(_mm512_abs_ps(x), smallest_normal(-126), _CMP_LT_OQ);
  return _mm512_mask_mul_ps(x, subnormal, x, _mm512_setzero_ps());
}

GRETA_LANE __m512 leaf(const Product& p, int64_t row, int64_t k) {
  const __m512 a = _mm512_set1_ps(p.a.value[row * p.k + k]), b = _mm512_loadu_ps(p.b.value + k * kLanes);
  return flushed(_mm512_fmadd_ps(a, b, _mm512_setzero_ps()), p.instruction->flush);
}

GRETA_LANE __m512 tree(const Product& p, int64_t row, int64_t k, int count) {
  __m512 left = leaf(p, row, k);
  if (count == 1) return left;
  const bool flush = p.instruction->flush;
  if (count == 2) return flushed(_mm512_add_ps(left, leaf(p, row, k + 1)), flush);
  left = flushed(_mm512_add_ps(left, leaf(p, row, k + 1)), flush);
  const __m512 right = flushed(_mm512_add_ps(leaf(p, row, k + 2), leaf(p, row, k + 3)), flush);
  return flushed(_mm512_add_ps(left, right), flush);
}

GRETA_LANE __m512 add_tree(const Product& p, int64_t row, int64_t k, __m512 sum) {
  const bool flush = p.instruction->flush;
  if (flush && k % p.instruction->k == 0) {  // an instruction reads a subnormal or -0 sum as +0
    const __mmask16 subnormal = _mm512_cmp_ps_mask(_mm512_abs_ps(sum), smallest_normal(-126), _CMP_LT_OQ);
    sum = _mm512_mask_mov_ps(sum, subnormal, _mm512_setzero_ps());
  }
  return flushed(_mm512_add_ps(sum, tree(p, row, k, p.instruction->group)), flush);
}

/// Sums of f32 operations: NaN stays NaN, so the lanes that end in one are done again with its right bits.
template <class Step>
GRETA_LANE void for_chains(const Product& p, const Step& step) {
  for (int64_t row = 0; row < p.rows; ++row) {
    float* acc = p.acc + row * p.acc_stride;
    float before[kLanes];
    __m512 sum = _mm512_loadu_ps(acc);
    _mm512_storeu_ps(before, sum);
    for (int64_t k = 0; k < p.k; k += p.instruction->group) sum = step(row, k, sum);
    _mm512_storeu_ps(acc, sum);
    const unsigned nan = _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
    for (int j = 0; nan != 0 && j < kLanes; ++j) {
      if (nan >> j & 1)
        acc[j] = p.dot(*p.instruction, p.a.value + row * p.k, p.b.value + j, kLanes, p.k, before[j]);
    }
  }
}

void multiply(const Product& p) {
  switch (p.instruction->rule) {
    case Rule::fma_chain:
      return for_chains(
          p, [&](int64_t row, int64_t k, __m512 sum) __attribute__((always_inline)) {
            return _mm512_fmadd_ps(_mm512_set1_ps(p.a.value[row * p.k + k]),
                                   _mm512_loadu_ps(p.b.value + k * kLanes), sum);
          });
    case Rule::pairwise:
      return for_chains(
          p, [&](int64_t row, int64_t k, __m512 sum)
                 __attribute__((always_inline)) { return add_tree(p, row, k, sum); });
    case Rule::floored:
      return for_groups(
          p, [&](int64_t row, int64_t k, __m512 sum)
                 __attribute__((always_inline)) { return add_floored<false>(p, row, k, sum); });
    case Rule::floored_fp8:
      return for_groups(
          p, [&](int64_t row, int64_t k, __m512 sum)
                 __attribute__((always_inline)) { return add_floored<true>(p, row, k, sum); });
    case Rule::fused: break;
  }
  switch (p.instruction->output) {
    case Output::f16_nearest:
      return for_groups(
          p, [&](int64_t row, int64_t k, __m512 sum)
                 __attribute__((always_inline)) { return add_fused<Output::f16_nearest>(p, row, k, sum); });
    case Output::f32_truncated_13:
      return for_groups(
          p, [&](int64_t row, int64_t k, __m512 sum) __attribute__((always_inline)) {
            return add_fused<Output::f32_truncated_13>(p, row, k, sum);
          });
    default:
      return for_groups(
          p, [&](int64_t row, int64_t k, __m512 sum)
                 __attribute__((always_inline)) { return add_fused<Output::f32_truncated>(p, row, k, sum); });
  }
}

}  // namespace

extern const BlockForm kAvx512Form;
const BlockForm kAvx512Form = {read, multiply};

}  // namespace greta::mma
