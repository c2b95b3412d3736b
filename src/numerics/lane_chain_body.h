// The chains, for vectors of GRETA_VECTOR_BYTES: the widest that one instruction of the including file's ISA
// works on. Wider ones the compiler splits before it has registers for them (gcc 12: several times slower).

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "base/compiler.h"
#include "numerics/lane_chain_form.h"

namespace greta {
namespace {

typedef double Vector __attribute__((vector_size(GRETA_VECTOR_BYTES), aligned(8), may_alias));

constexpr int64_t kWidth = GRETA_VECTOR_BYTES / sizeof(double);  // lanes of a vector; kLanes is a multiple

/// Chains that run beside each other, of as many xs: one alone waits for its own additions.
/// Their sums stay in 16 registers.
constexpr size_t kProductChains = 4;

GRETA_INLINE Vector load(const double* from) { return *reinterpret_cast<const Vector*>(from); }
GRETA_INLINE void store(double* to, Vector v) { *reinterpret_cast<Vector*>(to) = v; }

#if GRETA_VECTOR_BYTES == 64
GRETA_INLINE Vector as_doubles(const int32_t* from) {
  return _mm512_cvtepi32_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
#elif GRETA_VECTOR_BYTES == 32
GRETA_INLINE Vector as_doubles(const int32_t* from) {
  return _mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
GRETA_INLINE Vector as_doubles(const int32_t* from) {
  return Vector{static_cast<double>(from[0]), static_cast<double>(from[1])};
}
#endif

/// Some lanes of LaneSums, for R vectors.
template <size_t R>
struct Chains {
  Vector sum[R]{}, energy[R]{}, squares[R]{}, sum_b[R]{}, apart[R]{}, spread[R]{};

  GRETA_INLINE void store_vector(size_t r, int64_t lane, LaneSums& out) const {
    store(out.sum + lane, sum[r]);
    store(out.energy + lane, energy[r]);
    store(out.squares + lane, squares[r]);
    store(out.apart + lane, apart[r]);
    store(out.spread + lane, spread[r]);
  }
};

template <size_t R>
GRETA_INLINE void product_lanes(const double* w, const double* const* xs, int64_t n, int64_t lane,
                                LaneSums* out) {
  Chains<R> s;
  for (int64_t i = 0; i < n; ++i) {
    const Vector weight = load(w + i * kLanes + lane);
    GRETA_UNROLL(8)
    for (size_t r = 0; r < R; ++r) {
      const Vector term = weight * xs[r][i];
      s.sum[r] += term;
      s.energy[r] += s.sum[r] * s.sum[r];
      s.squares[r] += term * term;
    }
  }
  for (size_t r = 0; r < R; ++r) s.store_vector(r, lane, out[r]);
}

#ifdef __AVX2__
/// The eight sums of products of one group, for R rows.
template <size_t R>
GRETA_INLINE void sum_codes(const int16_t* weights, const int16_t* const* xs, int64_t group, int32_t** to) {
  __m256i sums[R]{};
  for (int64_t pair = 0; pair < group / 2; ++pair) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + pair * 2 * kLanes));
    GRETA_UNROLL(4)
    for (size_t r = 0; r < R; ++r) {
      const __m256i x =
          _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(xs[r]) + pair));
      sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(w, x));
    }
  }
  for (size_t r = 0; r < R; ++r) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to[r]), sums[r]);
}
#else
template <size_t R>
GRETA_INLINE void sum_codes(const int16_t* weights, const int16_t* const* xs, int64_t group, int32_t** to) {
  for (size_t r = 0; r < R; ++r) {
    int32_t sums[kLanes]{};
    for (int64_t i = 0; i < group; i += 2) {
      const int16_t* w = weights + i * kLanes;
      for (int64_t lane = 0; lane < kLanes; ++lane)
        sums[lane] += w[2 * lane] * xs[r][i] + w[2 * lane + 1] * xs[r][i + 1];
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) to[r][lane] = sums[lane];
  }
}
#endif

/// code_sums[r][g][8] of R rows.
template <size_t R>
GRETA_INLINE void sum_groups(const BlockTerms& terms, const BlockRow* rows, int32_t* code_sums) {
  const int64_t groups = terms.n / terms.group;
  for (int64_t g = 0; g < groups; ++g) {
    const int16_t* xs[R];
    int32_t* to[R];
    for (size_t r = 0; r < R; ++r) {
      xs[r] = rows[r].codes + g * terms.group;
      to[r] = code_sums + (static_cast<int64_t>(r) * groups + g) * kLanes;
    }
    sum_codes<R>(terms.codes + g * terms.group * kLanes, xs, terms.group, to);
  }
}

/// One row's chain, all lanes beside each other.
template <bool kOffset, bool kSpread>
GRETA_INLINE void chain_row(const BlockTerms& terms, const BlockRow& row, const int32_t* code_sums,
                            LaneSums* out) {
  constexpr size_t kVectors = kLanes / kWidth;
  Chains<kVectors> s;
  for (int64_t g = 0; g * terms.group < terms.n; ++g) {
    GRETA_UNROLL(8)
    for (size_t v = 0; v < kVectors; ++v) {
      const int64_t at = g * kLanes + static_cast<int64_t>(v) * kWidth;
      const Vector scale = load(terms.scale + at) * row.scale[g];
      const Vector a = as_doubles(code_sums + at) * scale;
      if constexpr (kSpread) s.spread[v] += scale * scale * row.spread[g];
      if constexpr (kOffset) {
        const Vector b = load(terms.offset + at) * row.sums[g];
        const Vector after_a = s.sum[v] + a, after_b = s.sum[v] + b;
        s.sum[v] = after_a + b;
        // Either may come first: the larger of the two sums in between counts.
        const Vector energy_a = after_a * after_a, energy_b = after_b * after_b;
        s.energy[v] += (energy_a > energy_b ? energy_a : energy_b) + s.sum[v] * s.sum[v];
        s.squares[v] += a * a + b * b;
        s.sum_b[v] += b;
        const Vector sum_a = s.sum[v] - s.sum_b[v];
        s.apart[v] += sum_a * sum_a + s.sum_b[v] * s.sum_b[v];
      } else {
        s.sum[v] += a;
        s.energy[v] += s.sum[v] * s.sum[v];
        s.squares[v] += a * a;
      }
    }
  }
  for (size_t v = 0; v < kVectors; ++v) s.store_vector(v, static_cast<int64_t>(v) * kWidth, *out);
}

template <size_t R>
GRETA_INLINE void block_rows(const BlockTerms& terms, const BlockRow* rows, int32_t* code_sums,
                             LaneSums* out) {
  sum_groups<R>(terms, rows, code_sums);
  const int64_t stride = terms.n / terms.group * kLanes;
  for (size_t r = 0; r < R; ++r) {
    const int32_t* own = code_sums + static_cast<int64_t>(r) * stride;
    if (terms.offset != nullptr) {
      chain_row<true, false>(terms, rows[r], own, out + r);
    } else if (rows[r].spread != nullptr) {
      chain_row<false, true>(terms, rows[r], own, out + r);
    } else {
      chain_row<false, false>(terms, rows[r], own, out + r);
    }
  }
}

template <size_t R>
GRETA_INLINE void product_rows(const double* w, const double* const* xs, int64_t n, LaneSums* out) {
  for (int64_t lane = 0; lane < kLanes; lane += kWidth) product_lanes<R>(w, xs, n, lane, out);
}

void all_products(const double* w, const double* const* xs, size_t count, int64_t n, LaneSums* out) {
  size_t j = 0;
  for (; j + kProductChains <= count; j += kProductChains)
    product_rows<kProductChains>(w, xs + j, n, out + j);
  for (; j < count; ++j) product_rows<1>(w, xs + j, n, out + j);
}

void all_blocks(const BlockTerms& terms, const BlockRow* rows, size_t count, int32_t* code_sums,
                LaneSums* out) {
  size_t j = 0;
  for (; j + kBlocksAtOnce <= count; j += kBlocksAtOnce)
    block_rows<kBlocksAtOnce>(terms, rows + j, code_sums, out + j);
  for (; j < count; ++j) block_rows<1>(terms, rows + j, code_sums, out + j);
}

}  // namespace
}  // namespace greta
