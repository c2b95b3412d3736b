#include "engine/session_plans.h"

#include <algorithm>

namespace greta {

int64_t block_of(int64_t n_tokens, int64_t most) { return std::min(n_tokens, most); }

int64_t fast_block(const Engine& engine) { return engine.card().empty() ? kPrefillBlock : 2048; }

SessionPlans make_session_plans(const Engine& engine, const SessionRequest& request) {
  const auto plan = [&](Phase phase, int64_t rows, const RouteTable& routes, bool logits) {
    return changed_plan(engine, phase, rows, routes, request.change, logits, request.fast);
  };
  SessionPlans plans{plan(Phase::prefill, request.block, request.routes, false),
                     plan(Phase::prefill, request.block, request.routes, true),
                     {}};
  for (const RouteTable& routes : request.steps) plans.steps.push_back(plan(Phase::decode, 1, routes, true));
  return plans;
}

}  // namespace greta
