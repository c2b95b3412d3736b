#pragma once
// Attention in one kernel (flash attention): its scores, or also its weights, are made and used without being
// recorded. What a kernel declares then holds for all that it makes.

#include "judge/cell_view.h"
#include "judge/stage_problem.h"

namespace greta {

/// The stage whose kernel makes `at`: where no layer records scores or weights, the next of scores, weights
/// and mix that is recorded; else `at` itself.
At carrier_of(const PhaseView& view, At at);

/// Whether the kernel of this stage makes scores or weights that are not recorded.
bool is_fused(const PhaseView& view, At at);

/// The arithmetic of a fused kernel, recorded as a stage of kind `carrier`, for one that it makes: queries
/// are rounded as its activations; scores of recorded weights, and weights before they are divided by their
/// sum, as its results between.
Declared part_of(const Declared& fused, StageKind carrier, StageKind kind);

/// The problem, and the scores and weights that are made on its way, each by the arithmetic that `of` gives
/// it. The order of row sums stays as it was, and what follows from a rotated cache.
StageProblem with_arithmetic(const StageProblem& problem,
                             const std::function<Declared(const StageProblem&)>& of);

/// The problem of a stage whose kernel has this arithmetic, `fused` or not.
StageProblem by_arithmetic(const StageProblem& root, const Declared& declared, bool fused);

}  // namespace greta
