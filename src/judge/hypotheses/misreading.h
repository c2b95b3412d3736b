#pragma once
// How a reader may mistake the fields of a quantised weight, or where they are: a table of what it sees.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// What the table's rows of this hypothesis claim of the stage's weight, where its errors look like theirs;
/// of all of K, or of the parts of it that show it.
std::vector<Candidate> misread(const Suspect& s, std::string_view hypothesis);

}  // namespace greta
