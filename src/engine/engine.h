#pragma once
// An engine is a loaded model with packed weights and threads. It makes plans; sessions run them
// (engine/session.h).

#include <string>

#include "base/thread_pool.h"
#include "engine/device.h"
#include "engine/executor.h"
#include "engine/planner.h"

namespace greta {

struct EngineOptions {
  int threads = 1;
  Isa isa = Isa::scalar;
  Format kv_format = Format::f32;  // or f16, q8_0
  std::string device = "cpu";      // or another name of find_device()
  Format sim_input = Format::bf16;
  bool invariant = false;
  bool declares = true;  // its bundles say what its kernels do
};

class Engine {
 public:
  Engine(Model model, const EngineOptions& options);

  const Model& model() const { return model_; }
  const Weights& weights() const { return weights_; }
  const EngineOptions& options() const { return options_; }
  ThreadPool& pool() { return pool_; }
  /// The name of the card that runs; empty for the host.
  std::string card() const { return store_ ? store_->device().card() : ""; }
  /// Bytes a second that it reads of its memory, measured now; 0 for the host.
  double card_reads() { return store_ ? store_->device().read_rate() : 0; }
  /// What its kernels are for: KernelQuery::device.
  std::string kernels() const;

  /// For the engine's device; `pool`: the threads of what runs on the host.
  std::unique_ptr<Executor> executor(ThreadPool& pool) const { return make_executor(pool, store_.get()); }
  /// Room for `positions` tokens where that executor can use it; `format`: the engine's where none is given.
  KvCache cache(int64_t positions, std::optional<Format> format = {}) const;

  Plan plan(Phase phase, int64_t max_rows, const RouteTable& routes = {}, bool logits = true) const;

  /// The same, fused where that is faster (PlanEdit::fuse_quantize): for runs that nobody looks into.
  Plan fast_plan(Phase phase, int64_t max_rows, const RouteTable& routes = {}, bool logits = true) const;

 private:
  EngineOptions options_;
  Model model_;
  ThreadPool pool_;
  Weights weights_;
  std::unique_ptr<DeviceStore> store_;  // of a device with memory of its own
};

}  // namespace greta
