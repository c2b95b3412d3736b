#pragma once
// The arithmetic of kernels that declare none: the most exact of the vocabulary that explains what a kernel
// of one phase gave in its recordings (docs/diagnosis.md, "Inferred arithmetic").

#include <vector>

#include "judge/oracle_pass.h"

namespace greta {

/// Infers from a few rows of a few stages of each class where the default does not explain them, and again
/// where all rows, judged by what was inferred, convict. Only kernels that the manifest does not list are
/// inferred. A class is inferred where one arithmetic explains at least half of what was tried (two stages
/// are enough for one that rounds operands alone), and no coarse one where a finer explains more than half:
/// the rest are faults.
/// The few rows are of all stages `asked` (none: all there are), so that all parts of a run begin alike;
/// judged is then what `options` name.
/// Into `inferred`, which the phases are to be judged by (PhaseRecord::inferred).
void infer_arithmetic(const std::vector<const PhaseRecord*>& phases, const OraclePass::Options& options,
                      InferredArithmetic& inferred, const std::set<At>* asked = nullptr);

}  // namespace greta
