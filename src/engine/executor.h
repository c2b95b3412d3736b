#pragma once
// Runs a plan: a loop over its ops, walked by all threads together.

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/kv_cache.h"
#include "engine/plan.h"

namespace greta {

class Executor {
 public:
  explicit Executor(ThreadPool& pool) : pool_(pool) {}

  /// Runs `plan` over `tokens` (1 <= size <= plan.max_rows) at positions position, position + 1, ... of
  /// `cache`. Returns the logits row, empty if the plan makes none; it stays valid until the next run.
  std::span<const float> run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                             KvCache& cache);

  /// Fills the memory of all buffers made so far, padding and scratch included, with `value`: a run writes
  /// what it reads, so no result may change.
  void fill_buffers(float value);

  ThreadPool& pool() { return pool_; }

 private:
  void reserve(const Plan& plan, int64_t rows, int64_t n_pos);
  View view(const Plan& plan, BufferId id, int64_t rows, int64_t n_pos);
  View input(const Plan& plan, const Op& op, BufferId id, int64_t rows, int64_t n_pos);
  void bind(const Plan& plan, int64_t rows, int64_t position, KvCache& cache);

  ThreadPool& pool_;
  std::vector<AlignedBytes> memory_;  // by buffer id; grows to what the largest plan needs
  AlignedBytes scratch_;              // a row of scores per thread
  std::vector<KernelArgs> args_;      // by op
  std::vector<Launch> launches_;      // by op
  std::vector<int64_t> taken_;        // by op, kLine each
};

}  // namespace greta
