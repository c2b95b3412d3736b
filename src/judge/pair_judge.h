#pragma once
// Two recordings of the same computation, stage by stage:
// prefill_last against decode0, or one engine against another.

#include <string>
#include <vector>

#include "judge/oracle_pass.h"
#include "model/model.h"
#include "verdict/verdict.h"

namespace greta {

struct PairRequest {
  const PhaseView& a;  // the reference side
  const PhaseView& b;
  const OraclePass* oracle = nullptr;   // holds both sides; without it differences stay unjudged
  const ModelConfig* config = nullptr;  // for the number of heads and the stages
  int n_layer = 0;
  CellKey cell;                // of the results
  std::string phase = {};      // of two bundles; empty: prefill_last against decode0
  std::string not_comparable;  // why nothing may be judged, if so
};

/// All stages that either side recorded, in execution order.
std::vector<StagePair> judge_pairs(const PairRequest& request);

}  // namespace greta
