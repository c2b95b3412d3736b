#include "numerics/lane_chain.h"

#include <algorithm>
#include <vector>

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

void chain_blocks(const BlockTerms& terms, std::span<const BlockRow> rows, LaneSums* out) {
  std::vector<int32_t> code_sums(std::min(rows.size(), kBlocksAtOnce) *
                                 static_cast<size_t>(terms.n / terms.group * kLanes));
  form().blocks(terms, rows.data(), rows.size(), code_sums.data(), out);
}

}  // namespace greta
