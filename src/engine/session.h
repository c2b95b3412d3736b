#pragma once
// A session is one conversation with an engine: a KV cache and the plans for it.

#include <span>

#include "engine/executor.h"
#include "engine/session_plans.h"

namespace greta {

class Session {
 public:
  /// Room for `positions` tokens. Throws an input Error when that is more than the model's context.
  Session(Engine& engine, int64_t positions, SessionPlans plans = {});

  KvCache& cache() { return cache_; }
  const SessionPlans& plans() const { return plans_; }

  /// Appends `tokens`, which need at least one, in the blocks of its plans; returns the last row's logits.
  std::span<const float> prefill(std::span<const int32_t> tokens);

  /// The same into the cache only: no logits are made.
  void fill(std::span<const int32_t> tokens);

  /// Appends one token through decode's plan (the one of that index); returns its logits.
  std::span<const float> step(int32_t token, size_t plan = 0);

  /// Appends `tokens` through another plan than its own, which must take them in one block; returns the last
  /// row's logits (empty if the plan makes none).
  std::span<const float> forward(const Plan& plan, std::span<const int32_t> tokens);

 private:
  void check(std::span<const int32_t> tokens) const;

  const Engine& engine_;
  SessionPlans plans_;
  KvCache cache_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace greta
