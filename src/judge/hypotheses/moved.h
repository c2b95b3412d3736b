#pragma once
// Right values in wrong places of a row: pairs exchanged, panels or heads shifted.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// What the wrong elements hold of the right row, where one rule says it of all of them.
std::vector<Candidate> moved_outputs(const Suspect& s);

}  // namespace greta
