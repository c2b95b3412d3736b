#pragma once
// Copies from global to shared memory that run on while lanes compute, in three forms: CUDA has cp.async;
// elsewhere they are done at once.

#include "kernels/gpu/lane.h"

namespace greta::gpu::GRETA_FORM {

/// 16 bytes, aligned on both sides.
struct alignas(16) Quad {
  uint32_t words[4];
};

/// A place in shared memory. What copies and gates want on CUDA is its address there, worked out once: else
/// the compiler would make it anew at every use, from a register that takes long to read.
struct SharedAt {
  std::byte* bytes;
#if defined(__CUDACC__)
  uint32_t address;
  explicit GRETA_DEVICE SharedAt(std::byte* p)
      : bytes(p), address(static_cast<uint32_t>(__cvta_generic_to_shared(p))) {
    asm volatile("mov.b32 %0, %0;" : "+r"(address));
  }
  GRETA_DEVICE SharedAt(std::byte* p, uint32_t at) : bytes(p), address(at) {}
  GRETA_DEVICE SharedAt operator+(int by) const { return {bytes + by, address + static_cast<uint32_t>(by)}; }
#else
  explicit GRETA_DEVICE SharedAt(std::byte* p) : bytes(p) {}
  GRETA_DEVICE SharedAt operator+(int by) const { return SharedAt(bytes + by); }
#endif
};

/// Begins a copy, which belongs to this lane's batch.
GRETA_DEVICE void copy_quad(const SharedAt& to, const std::byte* global) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to.address), "l"(global) : "memory");
#else
  *reinterpret_cast<Quad*>(to.bytes) = load<Quad>(global);
#endif
}

/// The same of bytes of which others may be writing some just now: whoever reads the copy leaves those out.
#if defined(__CUDACC__) || defined(__HIP__)
GRETA_DEVICE void copy_open_quad(const SharedAt& to, const std::byte* global) { copy_quad(to, global); }
#else
__attribute__((no_sanitize("thread"))) GRETA_DEVICE void copy_open_quad(const SharedAt& to,
                                                                        const std::byte* global) {
  __builtin_memcpy(to.bytes, global, sizeof(Quad));
}
#endif

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
