#pragma once
// From a bundle and the model file to a verdict.
// Nothing else is seen: any engine that writes bundles gets the same.

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "bundle/bundle.h"
#include "judge/findings.h"
#include "judge/oracle_pass.h"
#include "judge/part.h"
#include "model/model.h"
#include "verdict/verdict.h"

namespace greta {

/// What is known before any cause is looked for.
struct Places {
  int64_t judged = 0, wrong = 0;  // recorded stages
  std::string first;              // "q of layer 3 in decode", in execution order
  std::optional<int> of_layer{};  // of this one alone, by what it shows of the engine's arithmetic
};

struct JudgeOptions {
  int threads = 1;
  Causes causes = Causes::first;
  const std::set<At>* only = nullptr;  // the stages held against the oracle; none: all
  Share part = {};                     // of all stages: into `known`, the verdict is of no use
  KnownJudgements* known = nullptr;    // of earlier calls: equal data are judged once
  Step step = {};                      // of the stages held against the oracle
  // Called where some are wrong: in the first layer, as soon as that is judged, and in all, before what
  // contradicts itself is taken back.
  std::function<void(const Places&)> on_places = {};
};

/// Compares prefill_last with decode0 in every cell, stage and layer of `bundle`, and holds each side against
/// the oracle of its own recorded inputs. FAULT: a side is outside its bound (the finding names the phase).
/// Else EQUAL: the same bits; PROPAGATED: the inputs already differ; ROUNDING: equal inputs, different
/// outputs. All other recorded phases and rows are held against the oracle alone, and every stage outside its
/// bound is tried against the hypotheses.
/// Fills cells, pairs, findings, flags, coverage and status.
Verdict judge(const Bundle& bundle, const Model& model, const JudgeOptions& options = {});

}  // namespace greta
