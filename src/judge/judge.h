#pragma once
// From a bundle and the model file to a verdict.
// Nothing else is seen: any engine that writes bundles gets the same.

#include "bundle/bundle.h"
#include "model/model.h"
#include "verdict/verdict.h"

namespace greta {

/// Compares prefill_last with decode0 in every cell, stage and layer of `bundle`, and holds each side against
/// the oracle of its own recorded inputs. FAULT: a side is outside its bound (the finding names the phase).
/// Else EQUAL: the same bits; PROPAGATED: the inputs already differ; ROUNDING: equal inputs, different
/// outputs. All other recorded phases and rows are held against the oracle alone, and every stage outside its
/// bound is tried against the hypotheses.
/// Fills cells, pairs, findings, flags, coverage, status and exit code.
Verdict judge(const Bundle& bundle, const Model& model, int threads = 1);

/// The same without causes: findings say where and in which phase only. Much faster.
Verdict judge_places(const Bundle& bundle, const Model& model, int threads = 1);

}  // namespace greta
