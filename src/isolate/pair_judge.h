#pragma once
// Two recordings of the same computation, stage by stage:
// prefill_last against decode0, or one engine against another.

#include <string>
#include <vector>

#include "isolate/oracle_pass.h"
#include "isolate/verdict.h"
#include "model/model.h"

namespace greta::isolate {

struct PairRequest {
  const PhaseView& a;  // the reference side
  const PhaseView& b;
  const OraclePass* oracle = nullptr;   // holds both sides; without it differences stay unjudged
  const ModelConfig* config = nullptr;  // for the number of heads and the stages
  int n_layer = 0;
  std::string cell;            // label of the results
  std::string not_comparable;  // why nothing may be judged, if so
};

/// All stages that either side recorded, in execution order.
std::vector<StagePair> judge_pairs(const PairRequest& request);

}  // namespace greta::isolate
