#pragma once
// The arithmetic of kernels that declare none: the most exact of the vocabulary that explains what a kernel
// of one phase gave in its recordings (docs/diagnosis.md, "Inferred arithmetic").

#include <vector>

#include "judge/oracle_pass.h"
#include "verdict/verdict.h"

namespace greta {

/// Judges the phases by what undeclared kernels do by default, and infers where that convicts. Only kernels
/// that the manifest does not list are inferred. A class is inferred where one arithmetic explains at least
/// half of some of its stages; the rest are faults.
InferredArithmetic infer_arithmetic(const std::vector<const PhaseRecord*>& phases,
                                    const OraclePass::Options& options);

/// What the phases were judged by.
std::vector<KernelArithmetic> kernel_arithmetic(const std::vector<const PhaseRecord*>& phases);

/// Where that is another in prefill than in decode; how far apart that makes them: as `pairs` of equal inputs
/// show it, or by what the two make of decode's recorded operands.
std::vector<RouteDifference> route_differences(const std::vector<KernelArithmetic>& arithmetic,
                                               const std::vector<const PhaseRecord*>& phases,
                                               const std::vector<StagePair>& pairs);

}  // namespace greta
