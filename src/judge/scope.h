#pragma once
// What a finding's wrong recordings have in common, and right ones have not.

#include <vector>

#include "judge/oracle_pass.h"
#include "verdict/verdict.h"

namespace greta {

/// Fills in the scope of every finding, with all findings of its cause, and the verdict's factors: of all
/// that is wrong.
void add_scopes(const std::vector<const PhaseRecord*>& phases, const OraclePass& oracle, Verdict& verdict);

}  // namespace greta
