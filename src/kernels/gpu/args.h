#pragma once
// What a kernel of a device with memory of its own gets: the numbers of KernelArgs, with addresses there. All
// kernels take the same: one way to launch them.

#include "kernels/block_code.h"
#include "kernels/views.h"

namespace greta::gpu {

struct Weight {
  const std::byte* panels = nullptr;  // as the host packs them (kernels/pack.h)
  int64_t n = 0, k = 0, panel_bytes = 0;
  TensorType type = TensorType::f32;

  bool operator==(const Weight&) const = default;
};

/// A matrix as Hopper's copy engine knows it, which copies boxes of it (gpu/cuda_map.h); empty elsewhere.
struct CopyMap {
  alignas(64) uint64_t words[16] = {};
  bool operator==(const CopyMap&) const = default;
};

/// What the kernel that ran says of itself: its place in the list of kernels, as compiled into it.
struct Stamp {
  int32_t kernel = -1;
  uint32_t count = 0;
};

struct Args {
  View in[2];
  View out;
  Weight weight;
  const float* bias = nullptr;
  KvView cache;
  const int64_t* position = nullptr;  // of the block's row 0: arguments of a step are those of the next
  OpParams params;
  Stamp* stamp = nullptr;
  std::byte* scratch = nullptr;  // of attention: scratch_bytes of it
  int64_t scratch_bytes = 0;
  bool far = false;               // a step's attention sees so many positions that its work is worth dividing
  int32_t first = 0, groups = 0;  // the work-groups that it has of a launch of several ops, along y
  CopyMap rows, panels;           // of in[0] and the weight, for a GEMM of 16-bit weights

  bool operator==(const Args&) const = default;
};

/// What a launch gets: the arguments of one op, or of several that it does at once.
inline constexpr unsigned kMostParts = 4;
template <unsigned kCount>
struct Parts {
  static_assert(kCount <= kMostParts);
  Args of[kCount];
};

/// Work-groups of a launch, and the threads of each (a multiple of 64).
struct Grid {
  int64_t x = 1, y = 1;
  int threads = 128;
  int shared = 0;  // bytes of shared memory beside what the kernel declares
};

/// What a launch must know of a card: lanes of a wave, processors, and bytes of shared memory of each.
struct Chip {
  int wave = 32, processors = 1, shared = 64 << 10;
};

}  // namespace greta::gpu
