#pragma once
// How the waves of a work-group wait for one another and for copies, and a kernel for the one before it.
//
// A gate is passed by a whole wave at a time; who waits for its turn j waits until it was passed j + 1 times,
// and sees what was written before. CUDA has mbarriers for it, which tell the last turn from the one before
// alone (so nobody may be more than one behind), elsewhere a gate is a count in shared memory.
//
// A wave's copy of a run of bytes is seen by that wave after wait_for_copy(). Hopper's copy engine does it;
// elsewhere the lanes do, at once.

#include "kernels/gpu/copy.h"

#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define GRETA_HOPPER 1
#else
#define GRETA_HOPPER 0
#endif

namespace greta::gpu::GRETA_FORM {

/// The next kernel may begin, and work until its wait_for_previous(): this one's results are there after.
GRETA_DEVICE void allow_next() {
#if GRETA_HOPPER
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
GRETA_DEVICE void wait_for_previous() {
#if GRETA_HOPPER
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#if defined(__CUDACC__)

using Gate = uint64_t;

GRETA_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
GRETA_DEVICE void meet_wave() { __syncwarp(); }

/// By one thread; the work-group meets before the gate is used.
GRETA_DEVICE void make_gate(Gate& gate, int arrivals = kWave) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&gate)), "r"(arrivals) : "memory");
}
GRETA_DEVICE void pass(Gate& gate) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(shared_address(&gate))
               : "memory");
}
GRETA_DEVICE void wait_at(const Gate& gate, int turn) {
  uint32_t passed = 0;
  while (passed == 0) {
#if GRETA_HOPPER
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
        : "=r"(passed)
        : "r"(shared_address(&gate)), "r"(turn & 1)
        : "memory");
#else
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
        : "=r"(passed)
        : "r"(shared_address(&gate)), "r"(turn & 1)
        : "memory");
#endif
  }
}

#else

using Gate = uint32_t;

#if defined(__HIP__)
GRETA_DEVICE void meet_wave() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "workgroup");
  __builtin_amdgcn_wave_barrier();
}
GRETA_DEVICE void pass(Gate& gate) {
  meet_wave();
  if (lane_of_wave() == 0) __hip_atomic_fetch_add(&gate, 1u, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_WORKGROUP);
}
GRETA_DEVICE void wait_at(const Gate& gate, int turn) {
  while (__hip_atomic_load(&gate, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_WORKGROUP) <=
         static_cast<uint32_t>(turn))
    __builtin_amdgcn_s_sleep(1);
}
#else
GRETA_DEVICE void meet_wave() { emulator::meet_wave(kWave); }
GRETA_DEVICE void pass(Gate& gate) {
  meet_wave();
  if (lane_of_wave() == 0) ++gate;
}
GRETA_DEVICE void wait_at(const Gate& gate, int turn) { emulator::wait_past(gate, turn); }
#endif

GRETA_DEVICE void make_gate(Gate& gate) { gate = 0; }

#endif

/// Of one copy of a wave, again and again.
struct CopyGate {
  Gate gate;

  GRETA_DEVICE void make() {
#if GRETA_HOPPER
    make_gate(gate, 1);
#endif
  }

  /// All lanes of the wave call this, after they have met behind their last use of `to`. Bytes are a multiple
  /// of 16, addresses too.
  GRETA_DEVICE void copy(std::byte* to, const std::byte* from, int bytes) {
#if GRETA_HOPPER
    if (lane_of_wave() != 0) return;
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&gate)),
                 "r"(bytes)
                 : "memory");
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
            shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(&gate))
        : "memory");
#else
    for (int at = lane_of_wave() * 16; at < bytes; at += kWave * 16)
      *reinterpret_cast<Quad*>(to + at) = load<Quad>(from + at);
#endif
  }
  /// All lanes of the wave see the copy of turn `turn`.
  GRETA_DEVICE void wait_for_copy(int turn) {
#if GRETA_HOPPER
    wait_at(gate, turn);
#else
    static_cast<void>(turn);
    meet_wave();
#endif
  }
};

}  // namespace greta::gpu::GRETA_FORM
