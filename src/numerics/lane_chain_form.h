#pragma once
// What a file compiled for one ISA offers to lane_chain.cpp. Plain data: such a file must not share inline
// functions with the rest of the program.

#include "numerics/lane_chain.h"

namespace greta {

struct ChainForm {
  void (*products)(const double* w, const double* const* xs, size_t count, int64_t n, LaneSums* out);
  void (*blocks)(const BlockTerms& terms, const double* const* xs, const double* const* group_sums,
                 size_t count, LaneSums* out);
};

extern const ChainForm kScalarChains, kAvx2Chains, kAvx512Chains;

}  // namespace greta
