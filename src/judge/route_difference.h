#pragma once
// What arithmetic a recording was judged by, and where prefill's is another than decode's.

#include <vector>

#include "judge/stage_oracle.h"
#include "verdict/verdict.h"

namespace greta {

/// What the phases were judged by.
std::vector<KernelArithmetic> kernel_arithmetic(const std::vector<const PhaseRecord*>& phases);

/// Where that is another in prefill than in decode; how far apart that makes them: as `pairs` of equal inputs
/// show it, or by what the two make of decode's recorded operands. What a wrong stage's kernel does is not
/// known: those of `findings` are left out.
std::vector<RouteDifference> route_differences(const std::vector<KernelArithmetic>& arithmetic,
                                               const std::vector<const PhaseRecord*>& phases,
                                               const std::vector<StagePair>& pairs,
                                               const std::vector<Finding>& findings);

}  // namespace greta
