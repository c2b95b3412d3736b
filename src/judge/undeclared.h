#pragma once
// What is wrong alike everywhere, by a little, is no fault of a place: an arithmetic that nobody declared.

#include <vector>

#include "judge/findings.h"
#include "judge/oracle_pass.h"
#include "verdict/verdict.h"

namespace greta {

/// Of kernels that declare nothing and whose arithmetic could not be inferred: where every stage of a kind
/// (of products: with one type of weight) is convicted in all phases, none explained, each off by at most a
/// tenth of its size. Their findings are taken out, their judgements withdrawn, and each kind is a flag.
std::vector<Flag> withdraw_undeclared(const std::vector<const PhaseRecord*>& phases,
                                      const std::vector<Conviction>& convictions,
                                      std::vector<Finding>& findings, OraclePass& oracle);

}  // namespace greta
