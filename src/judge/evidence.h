#pragma once
// What a finding rests on: the wrong rows of one stage, from every phase and prompt that shows them, each
// with what the oracle makes of it. More rows tell rival hypotheses apart.

#include <optional>
#include <vector>

#include "base/text.h"
#include "judge/observation.h"
#include "judge/residual_pattern.h"

namespace greta {

/// What is kept of a recording that the oracle convicts.
struct Sighting {
  ResidualPattern pattern;  // of all judged rows
  Observation telling;      // a few of them, some right; of the cache all: what a row holds may be another's
};

/// nullopt when no single row is wrong.
std::optional<Sighting> sighting_of(const PhaseRecord& phase, At at, Trial trial);

/// A recording that was convicted. Those of equal data share what is kept.
struct Witness {
  const PhaseRecord* phase = nullptr;
  const Sighting* sighting = nullptr;  // or none
};

struct Evidence {
  const Model* model = nullptr;
  At at = {};
  std::vector<Observation> observations;  // distinct ones, most telling first
  Text pattern;                           // which positions, heads, elements are wrong
};

/// Evidence in two parts: one to estimate from, and a row of another prompt or position to test by; of a
/// single row a head, or half of the elements, where each is computed by itself. What is not in a part counts
/// as not affected there: estimates look at what is affected alone.
struct HeldOut {
  Evidence rest, row;
};

/// nullopt where a single one is wrong, however often it was recorded.
std::optional<HeldOut> hold_out(const Evidence& evidence);

/// Gathers the wrong rows of a stage from those who show them, equal data once.
Evidence gather_evidence(const std::vector<Witness>& witnesses, At at);

}  // namespace greta
