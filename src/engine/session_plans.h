#pragma once
// The plans of a session: the whole program of a conversation with a model.

#include <vector>

#include "engine/plan_change.h"

namespace greta {

/// Rows of one prefill block where nothing else is asked for.
inline constexpr int64_t kPrefillBlock = 256;

struct SessionPlans {
  Plan inner, last;         // prefill: every block but the last fills the cache only, without logits
  std::vector<Plan> steps;  // decode
};

struct SessionRequest {
  int64_t block = kPrefillBlock;       // rows of a prefill block; see block_of()
  RouteTable routes = {};              // of prefill
  std::vector<RouteTable> steps = {};  // of decode: a plan for each
  bool fast = false;                   // fused where that is faster: for runs that nobody looks into
  PlanChange change = {};              // of every plan
};

/// The block for a prompt of n tokens. One token runs the S = 1 plan in prefill too.
int64_t block_of(int64_t n_tokens, int64_t most = kPrefillBlock);

/// What makes a long prompt fast on the engine's device: a GPU wants more rows. The bits don't depend on it.
int64_t fast_block(const Engine& engine);

/// Input Errors as of Engine::plan: a route that can't run is told before anything runs.
SessionPlans make_session_plans(const Engine& engine, const SessionRequest& request);

}  // namespace greta
