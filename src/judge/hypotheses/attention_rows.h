#pragma once
// Scores, mixes and cached keys that were made from other rows than those that belong there.

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// Scores of keys before RoPE, while the cache is right.
std::vector<Candidate> keys_before_rope(const Suspect& s);

/// Values where keys belong, or keys where values do.
std::vector<Candidate> other_half_read(const Suspect& s);

/// RoPE in a layer that has none: of its queries, or of the keys that it caches.
std::vector<Candidate> rope_added(const Suspect& s);

}  // namespace greta
