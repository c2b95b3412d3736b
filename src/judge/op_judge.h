#pragma once
// Recorded ops against the oracle of their own recorded inputs: no model and no architecture is needed.

#include <vector>

#include "judge/judge.h"
#include "verdict/op.h"

namespace greta {

/// Whether the bundle has ops at all; and stages, which need a model.
bool records_ops(const Bundle& bundle);
bool records_stages(const Bundle& bundle);

/// Every op of the bundle, as it was read (not joined). Those of a stage's kind are judged as that stage,
/// with arithmetic inferred and causes named; others by their oracle alone. `model`, if any, has the weights
/// that inputs name. An input Error for ops that contradict the format or themselves.
std::vector<JudgedOp> judge_ops(const Bundle& bundle, const Model* model, const JudgeOptions& options = {});

/// The verdict of what was recorded on both levels. A wrong op is a fault; one that was not measured leaves
/// nothing to vouch for.
Verdict with_ops(Verdict verdict, std::vector<JudgedOp> ops, bool stages);

}  // namespace greta
