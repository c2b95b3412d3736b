#pragma once
// The hashes of all stages of a decode step, or of the last row of a prefill:
// what the contract says are equal.

#include <vector>

#include "engine/stage_hashes.h"

namespace greta::test {

/// The hashes of each step of decoding `tokens` one by one.
inline std::vector<StageHashes> decode_all(Engine& engine, std::span<const int32_t> tokens,
                                           const RouteTable& routes) {
  StageHashes hashes;
  Plan step = engine.plan(Phase::decode, 1, routes);
  hash_stages(step, hashes);
  Session session(engine, std::ssize(tokens));
  std::vector<StageHashes> steps;
  for (const int32_t& token : tokens) {
    session.forward(step, std::span(&token, 1));
    steps.push_back(hashes);
  }
  return steps;
}

/// The hashes of the last row of prefilling `tokens` in blocks of `block`.
inline StageHashes prefill(Engine& engine, std::span<const int32_t> tokens, int64_t block,
                           const RouteTable& routes) {
  StageHashes hashes;
  SessionPlans plans = make_session_plans(engine, {.block = block, .routes = routes});
  hash_stages(plans.last, hashes);
  Session session(engine, std::ssize(tokens), std::move(plans));
  session.prefill(tokens);
  return hashes;
}

}  // namespace greta::test
