#pragma once
// Proof by intervention: findings are neutralised one after the other in live runs, in execution order, and
// what each one takes away is measured. Faults that others had hidden come to light and join the list.

#include <functional>

#include "record/matrix.h"
#include "verdict/verdict.h"

namespace greta {

/// Fills Finding::intervention of every finding, and adds findings that show only when those before them are
/// neutralised. `request` is what was judged; `step` hears what is going on and may throw to stop.
void confirm(Engine& engine, const MatrixRequest& request, Verdict& verdict,
             const std::function<void(const std::string& label)>& step);

}  // namespace greta
