#pragma once
// Which heads and which slots of the cache scores and mixes were really made from: read from their values.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// Query heads, or heads of weights, and KV heads in another order than the model's.
std::vector<Candidate> heads_read(const Suspect& s);

/// Dims of the query in another order than the keys': any, where a row sees more positions than a head has
/// dims, else that of a transposed tile.
std::vector<Candidate> dims_read(const Suspect& s);

/// Slots of some positions, where these are not their own.
std::vector<Candidate> slots_read(const Suspect& s);

}  // namespace greta
