#pragma once
// Checks that need no reference: the engine against itself, under changes that must not change anything. A
// fault that both phases share escapes most of them; the oracle (judge/judge.h) is for those.

#include <functional>
#include <string>
#include <vector>

#include "engine/plan_change.h"
#include "verdict/metamorphic.h"

namespace greta {

struct MetamorphicRequest {
  RouteTable routes = {};
  PlanChange change = {};  // of every plan: faults
  int threads = 1;         // of all runs but those that vary it
  std::function<void(int done, int total, const std::string& what)> step = {};  // may throw to stop
};

/// Threads that an engine needs so that run_metamorphic can vary their number (faulty twins have a buffer for
/// each thread of their engine).
int engine_threads_for_metamorphic(int threads);

/// Runs all checks. Lengths are bounded by the model's context. Throws a machine Error if `engine` was made
/// with fewer threads than the function above says, and what making the plans throws.
std::vector<MetamorphicCheck> run_metamorphic(Engine& engine, const MetamorphicRequest& request);

}  // namespace greta
