// The chains, for vectors of GRETA_VECTOR_BYTES: the widest that one instruction of the including file's ISA
// works on. Wider ones the compiler splits before it has registers for them (gcc 12: several times slower).

#include "base/compiler.h"
#include "numerics/lane_chain_form.h"

namespace greta {
namespace {

typedef double Vector __attribute__((vector_size(GRETA_VECTOR_BYTES), aligned(8), may_alias));

constexpr int64_t kWidth = GRETA_VECTOR_BYTES / sizeof(double);  // lanes of a vector; kLanes is a multiple

/// Chains that run beside each other, of as many xs: one alone waits for its own additions.
/// Their sums stay in 16 registers.
constexpr size_t kProductChains = 4;
constexpr size_t kBlockChains = 8;

GRETA_INLINE Vector load(const double* from) { return *reinterpret_cast<const Vector*>(from); }
GRETA_INLINE void store(double* to, Vector v) { *reinterpret_cast<Vector*>(to) = v; }

/// Some lanes of LaneSums, for R vectors.
template <size_t R>
struct Chains {
  Vector sum[R]{}, energy[R]{}, squares[R]{}, sum_b[R]{}, apart[R]{};

  GRETA_INLINE void store_lanes(int64_t lane, LaneSums* out) const {
    for (size_t r = 0; r < R; ++r) {
      store(out[r].sum + lane, sum[r]);
      store(out[r].energy + lane, energy[r]);
      store(out[r].squares + lane, squares[r]);
      store(out[r].apart + lane, apart[r]);
    }
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
  s.store_lanes(lane, out);
}

template <size_t R, bool kOffset>
GRETA_INLINE void block_lanes(const BlockTerms& terms, const double* const* xs,
                              const double* const* group_sums, int64_t lane, LaneSums* out) {
  Chains<R> s;
  for (int64_t g = 0; g * terms.group < terms.n; ++g) {
    Vector a[R]{};
    for (int64_t i = g * terms.group; i < (g + 1) * terms.group; ++i) {
      const Vector weight = load(terms.scaled + i * kLanes + lane);
      GRETA_UNROLL(8)
      for (size_t r = 0; r < R; ++r) a[r] += weight * xs[r][i];
    }
    for (size_t r = 0; r < R; ++r) {
      if constexpr (kOffset) {
        const Vector b = load(terms.offset + g * kLanes + lane) * group_sums[r][g];
        const Vector after_a = s.sum[r] + a[r], after_b = s.sum[r] + b;
        s.sum[r] = after_a + b;
        // Either may come first: the larger of the two sums in between counts.
        const Vector energy_a = after_a * after_a, energy_b = after_b * after_b;
        s.energy[r] += (energy_a > energy_b ? energy_a : energy_b) + s.sum[r] * s.sum[r];
        s.squares[r] += a[r] * a[r] + b * b;
        s.sum_b[r] += b;
        const Vector sum_a = s.sum[r] - s.sum_b[r];
        s.apart[r] += sum_a * sum_a + s.sum_b[r] * s.sum_b[r];
      } else {
        s.sum[r] += a[r];
        s.energy[r] += s.sum[r] * s.sum[r];
        s.squares[r] += a[r] * a[r];
      }
    }
  }
  s.store_lanes(lane, out);
}

template <size_t R>
GRETA_INLINE void block_rows(const BlockTerms& terms, const double* const* xs,
                             const double* const* group_sums, LaneSums* out) {
  for (int64_t lane = 0; lane < kLanes; lane += kWidth) {
    if (terms.offset != nullptr) {
      block_lanes<R, true>(terms, xs, group_sums, lane, out);
    } else {
      block_lanes<R, false>(terms, xs, nullptr, lane, out);
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

void all_blocks(const BlockTerms& terms, const double* const* xs, const double* const* group_sums,
                size_t count, LaneSums* out) {
  const auto sums = [&](size_t j) { return terms.offset == nullptr ? nullptr : group_sums + j; };
  size_t j = 0;
  for (; j + kBlockChains <= count; j += kBlockChains)
    block_rows<kBlockChains>(terms, xs + j, sums(j), out + j);
  for (; j + 2 <= count; j += 2) block_rows<2>(terms, xs + j, sums(j), out + j);
  if (j < count) block_rows<1>(terms, xs + j, sums(j), out + j);
}

}  // namespace
}  // namespace greta
