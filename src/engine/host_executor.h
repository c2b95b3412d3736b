#pragma once
// A loop over the plan's ops, walked by all threads together.

#include <vector>

#include "engine/executor.h"
#include "engine/rows.h"

namespace greta {

class HostExecutor final : public Executor {
 public:
  using Executor::Executor;

  std::span<const float> run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                             KvCache& cache) override;
  void fill_buffers(float value) override;

 private:
  void reserve(const Plan& plan, const Block& block);
  View view(const Plan& plan, BufferId id, const Block& block);
  void bind(const Plan& plan, const Block& block, KvCache& cache);

  std::vector<AlignedBytes> memory_;  // by buffer id; grows to what the largest plan needs
  AlignedBytes scratch_;              // a row of scores per thread
  std::vector<KernelArgs> args_;      // by op
  std::vector<Launch> launches_;      // by op
  std::vector<int64_t> taken_;        // by op, kLine each
};

}  // namespace greta
