#pragma once
// Running sums of products in eight lanes, in f64, with what their error bounds need. Lanes are output
// elements and vectors never mix, so every sum adds in the order of its terms: the result is the same on
// every instruction set and for every number of vectors. Internal.

#include <cstdint>
#include <span>

namespace greta {

inline constexpr int64_t kLanes = 8;

/// Per lane: the sum of the terms, the sum of the squared partial sums, the sum of the squared terms; of
/// block products also the squared partial sums of two chains apart, one of the A and one of the B, and the
/// sum of (scale[g] * row.scale[g])^2 * row.spread[g].
struct LaneSums {
  double sum[kLanes];
  double energy[kLanes];
  double squares[kLanes];
  double apart[kLanes];
  double spread[kLanes];
};

/// out[j], lane l: over i of w[i][l] * xs[j][i], for n terms. w is [n][8].
void chain_products(const double* w, std::span<const double* const> xs, int64_t n, LaneSums* out);

/// Block products. Their terms, in either order, per group g of `group` i (n is a multiple of it):
///   A = (sum of codes[i][l] * row.codes[i]) * (scale[g][l] * row.scale[g]), its whole numbers added exactly
///   B = offset[g][l] * row.sums[g]   with offsets
/// codes is [n / 2][8][2], two of a lane beside each other, of int8 values; scale [n / group][8]; offset the
/// same or null.
struct BlockTerms {
  const int16_t* codes;
  const double* scale;
  const double* offset;
  int64_t n;
  int64_t group;  // even, at most 2^16: so many products fit an int32
};

/// What they are multiplied by: codes[n] of int8 values, scale[n / group]; sums[n / group] or null, for terms
/// without offsets spread[n / group] or null.
struct BlockRow {
  const int16_t* codes;
  const double* scale;
  const double* sums;
  const double* spread = nullptr;
};

/// out[j]: the chain of the block products with rows[j].
void chain_blocks(const BlockTerms& terms, std::span<const BlockRow> rows, LaneSums* out);

}  // namespace greta
