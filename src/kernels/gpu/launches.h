#pragma once
// How ops become launches: one kernel does several ops where it can, with the bits that they leave in turn.
// Some ops it does one after another (a sum and its norm), some beside one another (products of one input).

#include <span>
#include <vector>

#include "kernels/gpu/table.h"

namespace greta::gpu {

/// An op of a plan: its kernel, its arguments, and whether it needs what those before it made.
struct Task {
  const Kernel* kernel;
  Args args;
  bool waits;

  bool operator==(const Task&) const = default;
};

/// The next launches: of kernels that do so many tasks together, one after another; they may be others than
/// the tasks' own.
struct Launched {
  std::vector<const Kernel*> kernels;
  size_t count;
};
Launched next_launch(std::span<const Task> tasks, const Chip& chip);

/// The launch's work-groups; every part learns which are its own.
Grid place(const Kernel& kernel, std::span<Args> parts, const Chip& chip);

/// Bytes of Args::scratch that attention of many rows makes good use of, if there are some to spare.
int64_t attention_scratch_bytes(int64_t rows, int64_t n_head, const KvView& cache, const Chip& chip);

}  // namespace greta::gpu
