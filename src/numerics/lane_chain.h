#pragma once
// Running sums of products in eight lanes, in f64, with what their error bounds need. Lanes are output
// elements and vectors never mix, so every sum adds in the order of its terms: the result is the same on
// every instruction set and for every number of vectors. Internal.

#include <cstdint>
#include <span>

namespace greta {

inline constexpr int64_t kLanes = 8;

/// Per lane: the sum of the terms, the sum of the squared partial sums, the sum of the squared terms; of
/// block products also the squared partial sums of two chains apart, one of the A and one of the B.
struct LaneSums {
  double sum[kLanes];
  double energy[kLanes];
  double squares[kLanes];
  double apart[kLanes];
};

/// out[j], lane l: over i of w[i][l] * xs[j][i], for n terms. w is [n][8].
void chain_products(const double* w, std::span<const double* const> xs, int64_t n, LaneSums* out);

/// Block products. Their terms, in either order, per group g of `group` i (n is a multiple of it):
///   A = sum of scaled[i][l] * xs[j][i]
///   B = offset[g][l] * group_sums[j][g]   with offsets
/// scaled is [n][8], offset [n / group][8] or null.
struct BlockTerms {
  const double* scaled;
  const double* offset;
  int64_t n;
  int64_t group;
};

/// out[j]: the chain of the block products with xs[j]; group_sums may be empty where there are no offsets.
void chain_blocks(const BlockTerms& terms, std::span<const double* const> xs,
                  std::span<const double* const> group_sums, LaneSums* out);

}  // namespace greta
