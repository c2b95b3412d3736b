#pragma once
// What a file compiled for one ISA offers to lane_chain.cpp. Plain data: such a file must not share inline
// functions with the rest of the program.

#include "numerics/lane_chain.h"

namespace greta {

/// Rows of block products that run beside each other.
inline constexpr size_t kBlocksAtOnce = 4;

struct ChainForm {
  void (*products)(const double* w, const double* const* xs, size_t count, int64_t n, LaneSums* out);
  /// code_sums: room for [kBlocksAtOnce][n / group][8].
  void (*blocks)(const BlockTerms& terms, const BlockRow* rows, size_t count, int32_t* code_sums,
                 LaneSums* out);
};

extern const ChainForm kScalarChains, kAvx2Chains, kAvx512Chains;

}  // namespace greta
