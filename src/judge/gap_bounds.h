#pragma once
// Bounds over gaps: operands that were not recorded are known up to their own bounds only (docs/numerics.md,
// "Gaps").

#include <map>
#include <vector>

#include "judge/stage_problem.h"

namespace greta {

using Solved = std::map<const StageProblem*, Expected>;

/// Operands' bounds are sent through the stage and join its own bound. Where each element is made from one of
/// each operand, the largest change within them; else, as independent errors, their root mean square over a
/// few draws, doubled. `makers`: by operand; nullptr for recorded ones.
void carry_bounds(const StageProblem& problem, const Values& values,
                  const std::vector<const Expected*>& makers, Expected& expected);

/// The same for weights over unrecorded scores, or a mix by such weights, by their derivatives: draws would
/// often cancel where two positions share the weight. Weights that are themselves an operand keep their own
/// bound: the mix sees to the scores'. False where the problem is another.
bool carry_attention(const StageProblem& problem, const Values& values, const Solved& solved, bool is_operand,
                     Expected& expected);

}  // namespace greta
