#pragma once
// Proof by intervention: findings are neutralised one after the other in live runs, in execution order, and
// what each one takes away is measured. Faults that others had hidden come to light and join the list.

#include <functional>

#include "judge/judge.h"
#include "record/matrix.h"
#include "verdict/verdict.h"

namespace greta {

/// The findings with Finding::intervention of every one, and after them those that show only when those
/// before them are neutralised. `request` is what was judged; `known`, if there is one, was used to judge it
/// and spares what is equal; `step` hears what is going on and may throw to stop.
std::vector<Finding> confirm(Engine& engine, const MatrixRequest& request, std::vector<Finding> findings,
                             KnownJudgements* known,
                             const std::function<void(const std::string& label)>& step);

}  // namespace greta
