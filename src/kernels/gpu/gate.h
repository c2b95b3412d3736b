#pragma once
// How the waves of a work-group wait for one another and for copies, and a kernel for the one before it.
//
// A gate is passed by whole waves, so many of them a turn; who waits for turn j waits until j + 1 turns were
// passed, and sees what was written before. CUDA has mbarriers for it, which tell the last turn from the one
// before alone (so nobody may be more than one behind), elsewhere a gate is a count in shared memory.
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

inline constexpr int kGateBytes = 8;

#if defined(__CUDACC__)

GRETA_DEVICE void meet_wave() { __syncwarp(); }

GRETA_DEVICE void make_barrier(const SharedAt& gate, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(gate.address), "r"(arrivals) : "memory");
}
/// By one thread; the work-group meets before the gate is used.
GRETA_DEVICE void make_gate(const SharedAt& gate, int waves = 1) { make_barrier(gate, kWave * waves); }
/// Every lane arrives: one for all, behind __syncwarp(), would do, but compute-sanitizer does not see it.
GRETA_DEVICE void pass(const SharedAt& gate) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(gate.address)
               : "memory");
}
/// A gate that a wave passes when copies of its have come: those of its lanes, or of boxes.
GRETA_DEVICE void make_arrival_gate(const SharedAt& gate) { make_barrier(gate, GRETA_HOPPER ? 1 : kWave); }
/// Passes it once this wave's copies until now are there; does not wait for them.
GRETA_DEVICE void pass_after_copies(const SharedAt& gate) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(gate.address) : "memory");
}
#if GRETA_HOPPER
#define GRETA_WAIT "mbarrier.try_wait.parity.shared::cta.b64"
#else
#define GRETA_WAIT "mbarrier.test_wait.parity.shared.b64"
#endif
GRETA_DEVICE void wait_at(const SharedAt& gate, int turn, int = 1) {
  uint32_t passed = 0;
  while (passed == 0) {
    asm volatile("{\n.reg .pred p;\n" GRETA_WAIT " p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(passed)
                 : "r"(gate.address), "r"(turn & 1)
                 : "memory");
  }
}
#undef GRETA_WAIT

#else

GRETA_DEVICE uint32_t& count_of(const SharedAt& gate) { return *reinterpret_cast<uint32_t*>(gate.bytes); }

GRETA_DEVICE void make_gate(const SharedAt& gate, int = 1) { count_of(gate) = 0; }

#if defined(__HIP__)
GRETA_DEVICE void meet_wave() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "workgroup");
  __builtin_amdgcn_wave_barrier();
}
GRETA_DEVICE void pass(const SharedAt& gate) {
  meet_wave();
  if (lane_of_wave() == 0)
    __hip_atomic_fetch_add(&count_of(gate), 1u, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_WORKGROUP);
}
GRETA_DEVICE void wait_at(const SharedAt& gate, int turn, int waves = 1) {
  while (__hip_atomic_load(&count_of(gate), __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_WORKGROUP) <
         static_cast<uint32_t>((turn + 1) * waves))
    __builtin_amdgcn_s_sleep(1);
}
#else
GRETA_DEVICE void meet_wave() { emulator::meet_wave(kWave); }
GRETA_DEVICE void pass(const SharedAt& gate) {
  meet_wave();
  if (lane_of_wave() == 0) ++count_of(gate);
}
GRETA_DEVICE void wait_at(const SharedAt& gate, int turn, int waves = 1) {
  emulator::wait_past(count_of(gate), turn, waves);
}
#endif

GRETA_DEVICE void make_arrival_gate(const SharedAt& gate) { make_gate(gate); }
GRETA_DEVICE void pass_after_copies(const SharedAt& gate) { pass(gate); }

#endif

/// One lane of the wave, which the compiler knows to be alone: of any other it does not, and makes a loop.
GRETA_DEVICE bool is_elected() {
#if GRETA_HOPPER
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
#else
  return lane_of_wave() == 0;
#endif
}

/// Whether copy_box() is there. A gate (make_arrival_gate) is passed once as many bytes have come as were
/// expected; by one lane.
inline constexpr bool kCopiesBoxes = GRETA_HOPPER;
GRETA_DEVICE void expect_bytes(const SharedAt& gate, int bytes) {
#if GRETA_HOPPER
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(gate.address), "r"(bytes)
               : "memory");
#else
  static_cast<void>(gate), static_cast<void>(bytes);
#endif
}
/// The box from element `x` of row `y` on; what is beyond the matrix is 0.
GRETA_DEVICE void copy_box(const SharedAt& gate, const SharedAt& to, const CopyMap& map, int x, int64_t y) {
#if GRETA_HOPPER
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], "
      "[%4];" ::"r"(to.address),
      "l"(&map), "r"(x), "r"(static_cast<int>(y)), "r"(gate.address)
      : "memory");
#else
  static_cast<void>(gate), static_cast<void>(to), static_cast<void>(map), static_cast<void>(x),
      static_cast<void>(y);
#endif
}

// A gate of a wave's copies, one a turn.

GRETA_DEVICE void make_copy_gate(const SharedAt& gate) {
#if GRETA_HOPPER
  make_barrier(gate, 1);
#else
  static_cast<void>(gate);
#endif
}

/// All lanes of the wave call this, after they have met behind their last use of `to`. Bytes are a multiple
/// of 16, addresses too.
GRETA_DEVICE void copy_through(const SharedAt& gate, const SharedAt& to, const std::byte* from, int bytes) {
#if GRETA_HOPPER
  if (!is_elected()) return;
  expect_bytes(gate, bytes);
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          to.address),
      "l"(from), "r"(bytes), "r"(gate.address)
      : "memory");
#else
  static_cast<void>(gate);
  for (int at = lane_of_wave() * 16; at < bytes; at += kWave * 16)
    *reinterpret_cast<Quad*>(to.bytes + at) = load<Quad>(from + at);
#endif
}

/// The copy of turn `turn` is there: for all lanes of that wave, and for others who met it since, or passed
/// the gate.
GRETA_DEVICE void wait_for_copy(const SharedAt& gate, int turn) {
#if GRETA_HOPPER
  wait_at(gate, turn);
#else
  static_cast<void>(gate), static_cast<void>(turn);
  meet_wave();
#endif
}

}  // namespace greta::gpu::GRETA_FORM
