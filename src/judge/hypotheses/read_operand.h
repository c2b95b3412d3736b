#pragma once
// What the op read as it began, by the recording's own word, in the place of what it ought to have read.

#include <vector>

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// One candidate, with all operands that were others; none where all were read as they were recorded, or only
/// rounded in another way.
std::vector<Candidate> operand_read(const Suspect& s);

/// One candidate where operands were read that are near what was recorded, rounded by another rule.
std::vector<Candidate> operand_rounded(const Suspect& s);

}  // namespace greta
