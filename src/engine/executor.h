#pragma once
// What runs a plan. One for each kind of memory: the plan is the same.

#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "engine/device_store.h"
#include "engine/kv_cache.h"
#include "engine/plan.h"

namespace greta {

class Executor {
 public:
  explicit Executor(ThreadPool& pool) : pool_(pool) {}
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Runs `plan` over `tokens` (1 <= size <= plan.max_rows) at positions position, position + 1, ... of
  /// `cache`. Returns the logits row, empty if the plan makes none; it stays valid until the next run.
  virtual std::span<const float> run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                                     KvCache& cache) = 0;

  /// Fills the memory of all buffers made so far, padding and scratch included, with `value`: a run writes
  /// what it reads, so no result may change.
  virtual void fill_buffers(float value) = 0;

  ThreadPool& pool() { return pool_; }

 private:
  ThreadPool& pool_;
};

/// On the host's memory, or with a store on its device's. The pool's threads walk the plan, or run what is no
/// kernel of the device.
std::unique_ptr<Executor> make_executor(ThreadPool& pool, DeviceStore* store);

}  // namespace greta
