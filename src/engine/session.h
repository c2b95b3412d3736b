#pragma once
// An engine is a loaded model with packed weights and threads; a session is one conversation with it: a KV
// cache and the plans for it.

#include <memory>
#include <span>

#include "engine/executor.h"
#include "engine/planner.h"

namespace greta {

struct EngineOptions {
  int threads = 1;
  Isa isa = Isa::scalar;
  Format kv_format = Format::f32;  // or f16, q8_0
  // Of the projections; all other ops run on the CPU's kernels whatever the device.
  std::string device = "cpu";  // or "sim:mi300x", ...
  Format sim_input = Format::bf16;
  bool invariant = false;
};

class Engine {
 public:
  Engine(Model model, const EngineOptions& options);

  const Model& model() const { return model_; }
  const Weights& weights() const { return weights_; }
  const EngineOptions& options() const { return options_; }
  ThreadPool& pool() { return pool_; }

  Plan plan(Phase phase, int64_t max_rows, const RouteTable& routes = {}, bool logits = true) const;

  /// The same, fused where that is faster (PlanEdit::fuse_quantize): for runs that nobody looks into.
  Plan fast_plan(Phase phase, int64_t max_rows, const RouteTable& routes = {}, bool logits = true) const;

 private:
  EngineOptions options_;
  Model model_;
  ThreadPool pool_;
  Weights weights_;
};

class Session {
 public:
  /// Room for `positions` tokens. Throws an input Error when that is more than the model's context.
  Session(Engine& engine, int64_t positions);

  KvCache& cache() { return cache_; }

  /// Appends `tokens` through `plan`, which must take them in one block; returns the last row's logits (empty
  /// if the plan makes none).
  std::span<const float> forward(const Plan& plan, std::span<const int32_t> tokens);

  /// The same in blocks of at most `last.max_rows`: all but the last through `inner`, which needs no logits.
  std::span<const float> prefill(const Plan& inner, const Plan& last, std::span<const int32_t> tokens);

 private:
  void check(std::span<const int32_t> tokens) const;

  const Engine& engine_;
  KvCache cache_;
  Executor executor_;
};

/// Rows of one prefill block where nothing else is asked for.
inline constexpr int64_t kPrefillBlock = 256;

}  // namespace greta
