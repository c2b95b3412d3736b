#pragma once
// Masks as people get them wrong: of scores, or of the softmax of scores that are recorded rightly.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// Rows see later positions.
std::vector<Candidate> mask_absent(const Suspect& s);

/// A row does not see itself, or sees the next.
std::vector<Candidate> mask_offset(const Suspect& s);

/// A row sees nothing but itself.
std::vector<Candidate> history_hidden(const Suspect& s);

/// Another window than the model's, or none where a row shows that.
std::vector<Candidate> window(const Suspect& s);

/// Hidden scores are lowered by a finite number, as the softmax shows it.
std::vector<Candidate> mask_finite(const Suspect& s);

/// The mask as the rows show it: what they make of the positions that they see must be right.
std::vector<Candidate> mask_read(const Suspect& s);

}  // namespace greta
