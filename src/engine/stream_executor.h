#pragma once
// Runs a plan on a device with memory of its own. One thread hands it the kernels, in order. What is no
// kernel of the device (a record, an intervention, a faulty twin) runs on the host between two of them: it
// gets copies of what it reads, and what it writes goes back.

#include <map>
#include <optional>
#include <vector>

#include "engine/executor.h"
#include "engine/rows.h"

namespace greta {

class StreamExecutor final : public Executor {
 public:
  StreamExecutor(ThreadPool& pool, DeviceStore& store) : Executor(pool), store_(store) {}

  std::span<const float> run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                             KvCache& cache) override;
  void fill_buffers(float value) override;

 private:
  /// A plan's kernels as one launch: the arguments of a step are those of the next, as long as memory stays.
  struct Recorded {
    std::vector<gpu::Task> tasks;
    uint64_t memory = 0;         // memory_made_ when tasks were made
    bool far = false;            // of their attention
    std::vector<KvView> layers;  // of the cache
    std::unique_ptr<gpu::Recording> recording;
  };

  /// For attention's scores.
  void reserve_scratch(const KernelArgs& attention);
  std::vector<gpu::Task> tasks_of(const Plan& plan, const Block& block, KvCache& cache);
  /// Makes what the plan reads the device's, as tasks_of() would; the cache's layers as its ops have them.
  std::vector<KvView> refresh(const Plan& plan, KvCache& cache);
  /// All of them, in launches of as many as go together.
  void launch_all(std::span<const gpu::Task> tasks);

  void reserve(const Plan& plan, const Block& block);
  View device_view(const Plan& plan, BufferId id, const Block& block, bool writes);
  View host_view(const Plan& plan, BufferId id, const Block& block, bool writes);
  /// The op's arguments; what they read is the device's then.
  gpu::Args args_for(const Plan& plan, const Op& op, const Block& block, KvCache& cache);
  void run_ops(const Plan& plan, const Block& block, KvCache& cache);
  void run_tasks(const Plan& plan, const Block& block, KvCache& cache);
  void act(const Plan& plan, const Op& op, const Block& block, KvCache& cache);
  Launch& launch_of(const Plan& plan, int op);

  DeviceStore& store_;
  std::vector<Mirror> memory_;  // by buffer id
  uint64_t memory_made_ = 0;    // how often some of the device's was
  gpu::DeviceBytes position_;   // of the block's row 0
  gpu::DeviceBytes stamps_;     // by op
  gpu::DeviceBytes scores_;     // of attention
  std::vector<Launch> launches_;
  std::map<uint64_t, Recorded> recorded_;  // by Plan::id()
  AlignedBytes scratch_;                   // of actions that run the host's attention
};

}  // namespace greta
