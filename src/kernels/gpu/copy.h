#pragma once
// Copies from global to shared memory that run on while lanes compute, in three forms: CUDA has cp.async;
// elsewhere they are done at once.

#include "kernels/gpu/lane.h"

namespace greta::gpu::GRETA_FORM {

/// 16 bytes, aligned on both sides.
struct alignas(16) Quad {
  uint32_t words[4];
};

/// Begins a copy, which belongs to this lane's batch.
GRETA_DEVICE void copy_quad(std::byte* shared, const std::byte* global) {
#if defined(__CUDACC__)
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
  *reinterpret_cast<Quad*>(shared) = load<Quad>(global);
#endif
}

/// Ends the batch; the next copy begins another one.
GRETA_DEVICE void end_batch() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits for this lane's batches but the last kBehind. Others' copies are seen after meet().
template <int kBehind>
GRETA_DEVICE void wait_for_batches() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kBehind) : "memory");
#endif
}

}  // namespace greta::gpu::GRETA_FORM
