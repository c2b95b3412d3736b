#pragma once
// Recordings that contradict themselves: the engine is not judged by them.

#include <vector>

#include "judge/oracle_pass.h"
#include "verdict/verdict.h"

namespace greta {

/// A stage that is wrong in all rows, and whose convicted successor in the layer agrees with the oracle as
/// soon as the stage is made and not read: the engine had the right value, the recording has another. The
/// judgements of both are withdrawn from `oracle`, and each such place is a flag. A cache is left out: an
/// engine may compute from what it did not write.
std::vector<Flag> withdraw_contradictions(const std::vector<const PhaseRecord*>& phases, OraclePass& oracle,
                                          int threads);

/// A stage is not judged over a gap that had to be filled by stages which are wrong themselves: the rows that
/// they did not record may be wrong likewise. Such judgements are withdrawn.
void withdraw_over_wrong_gaps(const std::vector<const PhaseRecord*>& phases, OraclePass& oracle);

/// Stages that are right by what was recorded of their operands, though their op read other rows.
std::vector<Flag> right_by_what_was_not_read(const std::vector<const PhaseRecord*>& phases,
                                             const OraclePass& oracle);

/// Prompts whose last token has no logits though a step follows: an earlier row's are recorded in their
/// place, and the step's token was chosen by them.
std::vector<Flag> logits_of_other_rows(const std::vector<const PhaseRecord*>& phases);

}  // namespace greta
