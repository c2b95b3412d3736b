#include "numerics/lane_chain.h"

#include <cstring>

// The same source for three instruction sets. No result depends on the choice: lanes are never mixed and
// nothing is contracted. Sanitizers run before the resolver's tables are ready,
// so their builds take the baseline.
#if defined(__x86_64__) && !defined(GRETA_SANITIZED)
#define GRETA_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define GRETA_CLONES
#endif

namespace greta {
namespace {

typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double)), aligned(8), may_alias));

}  // namespace

GRETA_CLONES void chain_one(const double* w, const double* x, int64_t n, LaneSums& out) {
  Lanes sum{}, energy{}, squares{};
  for (int64_t i = 0; i < n; ++i) {
    const Lanes term = *reinterpret_cast<const Lanes*>(w + i * kLanes) * x[i];
    sum += term;
    energy += sum * sum;
    squares += term * term;
  }
  std::memcpy(out.sum, &sum, sizeof sum);
  std::memcpy(out.energy, &energy, sizeof energy);
  std::memcpy(out.squares, &squares, sizeof squares);
}

/// Two vectors at once: one chain alone waits for its own additions.
GRETA_CLONES void chain_two(const double* w, const double* x0, const double* x1, int64_t n, LaneSums* out) {
  Lanes sum0{}, energy0{}, squares0{}, sum1{}, energy1{}, squares1{};
  for (int64_t i = 0; i < n; ++i) {
    const Lanes weight = *reinterpret_cast<const Lanes*>(w + i * kLanes);
    const Lanes term0 = weight * x0[i];
    const Lanes term1 = weight * x1[i];
    sum0 += term0;
    sum1 += term1;
    energy0 += sum0 * sum0;
    energy1 += sum1 * sum1;
    squares0 += term0 * term0;
    squares1 += term1 * term1;
  }
  std::memcpy(out[0].sum, &sum0, sizeof sum0);
  std::memcpy(out[0].energy, &energy0, sizeof energy0);
  std::memcpy(out[0].squares, &squares0, sizeof squares0);
  std::memcpy(out[1].sum, &sum1, sizeof sum1);
  std::memcpy(out[1].energy, &energy1, sizeof energy1);
  std::memcpy(out[1].squares, &squares1, sizeof squares1);
}

GRETA_CLONES void chain_scaled(const double* scaled, int64_t n, int64_t group, const double* x,
                               LaneSums& out) {
  Lanes sum{}, energy{}, squares{};
  for (int64_t begin = 0; begin < n; begin += group) {
    Lanes term{};
    for (int64_t i = begin; i < begin + group; ++i) {
      term += *reinterpret_cast<const Lanes*>(scaled + i * kLanes) * x[i];
    }
    sum += term;
    energy += sum * sum;
    squares += term * term;
  }
  std::memcpy(out.sum, &sum, sizeof sum);
  std::memcpy(out.energy, &energy, sizeof energy);
  std::memcpy(out.squares, &squares, sizeof squares);
}

GRETA_CLONES void chain_scaled_offset(const BlockTerms& terms, const double* x, const double* group_sums,
                                      LaneSums& out) {
  Lanes sum{}, energy{}, squares{};
  for (int64_t begin = 0; begin < terms.n; begin += terms.group) {
    const int64_t g = begin / terms.group;
    Lanes a{};
    for (int64_t i = begin; i < begin + terms.group; ++i) {
      a += *reinterpret_cast<const Lanes*>(terms.scaled + i * kLanes) * x[i];
    }
    const Lanes b = *reinterpret_cast<const Lanes*>(terms.offset + g * kLanes) * group_sums[g];
    const Lanes after_a = sum + a, after_b = sum + b;
    sum = after_a + b;
    // Either may come first: the larger of the two sums in between counts.
    const Lanes energy_a = after_a * after_a, energy_b = after_b * after_b;
    energy += (energy_a > energy_b ? energy_a : energy_b) + sum * sum;
    squares += a * a + b * b;
  }
  std::memcpy(out.sum, &sum, sizeof sum);
  std::memcpy(out.energy, &energy, sizeof energy);
  std::memcpy(out.squares, &squares, sizeof squares);
}

void chain_products(const double* w, std::span<const double* const> xs, int64_t n, LaneSums* out) {
  size_t j = 0;
  for (; j + 2 <= xs.size(); j += 2) chain_two(w, xs[j], xs[j + 1], n, out + j);
  if (j < xs.size()) chain_one(w, xs[j], n, out[j]);
}

void chain_blocks(const BlockTerms& terms, const double* x, const double* group_sums, LaneSums& out) {
  if (terms.offset == nullptr) {
    chain_scaled(terms.scaled, terms.n, terms.group, x, out);
  } else {
    chain_scaled_offset(terms, x, group_sums, out);
  }
}

}  // namespace greta
