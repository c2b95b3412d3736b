#include "numerics/lane_chain.h"

#include "base/cpu_features.h"
#include "numerics/lane_chain_form.h"

namespace greta {
namespace {

/// No result depends on the choice: lanes are never mixed and nothing is contracted.
const ChainForm& form() {
  static const ChainForm* const best = [] {
    if (!missing_features(kAvx2Features).empty()) return &kScalarChains;
    return missing_features(kAvx512Features).empty() ? &kAvx512Chains : &kAvx2Chains;
  }();
  return *best;
}

}  // namespace

void chain_products(const double* w, std::span<const double* const> xs, int64_t n, LaneSums* out) {
  form().products(w, xs.data(), xs.size(), n, out);
}

void chain_blocks(const BlockTerms& terms, std::span<const double* const> xs,
                  std::span<const double* const> group_sums, LaneSums* out) {
  form().blocks(terms, xs.data(), group_sums.data(), xs.size(), out);
}

}  // namespace greta
