#pragma once
// What a lane of a GPU can do, in three forms: CUDA, HIP and the emulator, whose own (emulator/lanes.h) stand
// before this. Kernels are written for teams of 16 lanes, because sums run in 16 lanes on every device; a
// wave (32 lanes on NVIDIA, 64 on AMD) matters to the matrix unit alone.

#include "kernels/gpu/args.h"

#if defined(__CUDACC__)
#define GRETA_FORM cuda
#define GRETA_DEVICE __device__ __forceinline__
#define GRETA_SHARED(type, name, count) __shared__ alignas(16) type name[count]
#define GRETA_SHARED_BESIDE(name, bytes) extern __shared__ __align__(16) std::byte name[]
#elif defined(__HIP__)
#define GRETA_FORM hip
#define GRETA_DEVICE __attribute__((device, always_inline)) inline
#define GRETA_SHARED(type, name, count) static __attribute__((shared, aligned(16))) type name[count]
#define GRETA_SHARED_BESIDE(name, bytes) extern __attribute__((shared, aligned(16))) std::byte name[]
#else
#define GRETA_DEVICE inline
#define GRETA_SHARED(type, name, count) type* const name = emulator::shared<type>(count)
#define GRETA_SHARED_BESIDE(name, bytes) GRETA_SHARED(std::byte, name, bytes)
#endif

namespace greta::gpu::GRETA_FORM {

inline constexpr int kTeam = 16;

#if defined(__CUDACC__)

inline constexpr int kWave = 32;

GRETA_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
GRETA_DEVICE int group_x() { return static_cast<int>(blockIdx.x); }
GRETA_DEVICE int group_y() { return static_cast<int>(blockIdx.y); }
GRETA_DEVICE int thread_count() { return static_cast<int>(blockDim.x); }
/// All threads of the work-group meet; what was written before is seen after.
GRETA_DEVICE void meet() { __syncthreads(); }
/// The value of the lane whose index in the team differs in `mask` (below 16); all lanes of the wave call it.
GRETA_DEVICE int from_lane(int value, int mask) { return __shfl_xor_sync(~0u, value, mask, kTeam); }
/// sum + the products of four signed bytes.
GRETA_DEVICE int dot4(int a, int b, int sum) { return __dp4a(a, b, sum); }
/// The same with the bytes of a unsigned.
GRETA_DEVICE int dot4_unsigned(uint32_t a, int b, int sum) {
  asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}
GRETA_DEVICE float half_to_float(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
GRETA_DEVICE uint16_t float_to_half(float value) {  // to nearest even
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
GRETA_DEVICE float square_root(float x) { return __fsqrt_rn(x); }

#elif defined(__HIP__)

inline constexpr int kWave = 64;

GRETA_DEVICE int thread_index() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
GRETA_DEVICE int group_x() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
GRETA_DEVICE int group_y() { return static_cast<int>(__builtin_amdgcn_workgroup_id_y()); }
GRETA_DEVICE int thread_count() { return __builtin_amdgcn_workgroup_size_x(); }
GRETA_DEVICE void meet() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
GRETA_DEVICE int from_lane(int value, int mask) {
  const int lane = static_cast<int>(__builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0)));
  return __builtin_amdgcn_ds_bpermute((lane ^ mask) * 4, value);
}
GRETA_DEVICE int dot4(int a, int b, int sum) { return __builtin_amdgcn_sdot4(a, b, sum, false); }
GRETA_DEVICE int dot4_unsigned(uint32_t a, int b, int sum) {
  const int tops = __builtin_amdgcn_sdot4(static_cast<int>(a >> 7 & 0x01010101u), b, 0, false);
  return __builtin_amdgcn_sdot4(static_cast<int>(a & 0x7f7f7f7fu), b, sum + 128 * tops, false);
}
GRETA_DEVICE float half_to_float(uint16_t bits) {
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}
GRETA_DEVICE uint16_t float_to_half(float value) {
  return __builtin_bit_cast(uint16_t, static_cast<_Float16>(value));
}
GRETA_DEVICE float square_root(float x) { return __builtin_sqrtf(x); }

#else

inline constexpr int kWave = GRETA_WAVE;

GRETA_DEVICE int thread_index() { return emulator::thread_index(); }
GRETA_DEVICE int group_x() { return emulator::group_x(); }
GRETA_DEVICE int group_y() { return emulator::group_y(); }
GRETA_DEVICE int thread_count() { return emulator::thread_count(); }
GRETA_DEVICE void meet() { emulator::meet(); }
GRETA_DEVICE int from_lane(int value, int mask) { return emulator::exchange(value, mask, kWave); }
GRETA_DEVICE int dot4(int a, int b, int sum) {
  for (int i = 0; i < 32; i += 8) sum += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return sum;
}
GRETA_DEVICE int dot4_unsigned(uint32_t a, int b, int sum) {
  for (int i = 0; i < 32; i += 8) sum += static_cast<uint8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return sum;
}
GRETA_DEVICE float half_to_float(uint16_t bits) { return f16_to_f32(bits); }
GRETA_DEVICE uint16_t float_to_half(float value) { return f32_to_f16(value); }
GRETA_DEVICE float square_root(float x) { return __builtin_sqrtf(x); }

#endif

GRETA_DEVICE int lane_of_team() { return thread_index() % kTeam; }
GRETA_DEVICE int lane_of_wave() { return thread_index() % kWave; }

GRETA_DEVICE float from_lane(float value, int mask) {
  return __builtin_bit_cast(float, from_lane(__builtin_bit_cast(int, value), mask));
}

/// To nearest even; NaN stays one.
GRETA_DEVICE uint16_t float_to_bf16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// The sum of a team's values by the contract's tree: lanes 8 apart first, then 4, 2, 1.
GRETA_DEVICE float sum_tree(float value) {
  for (int apart = kTeam / 2; apart > 0; apart /= 2) value += from_lane(value, apart);
  return value;
}
GRETA_DEVICE int sum_of_team(int value) {
  for (int apart = kTeam / 2; apart > 0; apart /= 2) value += from_lane(value, apart);
  return value;
}
template <class T>
GRETA_DEVICE T most_of_team(T value) {
  for (int apart = kTeam / 2; apart > 0; apart /= 2) {
    const T other = from_lane(value, apart);
    value = value < other ? other : value;
  }
  return value;
}

template <class T>
GRETA_DEVICE T load(const std::byte* p) {
  return *reinterpret_cast<const T*>(p);
}

/// A NaN loses.
GRETA_DEVICE float larger(float a, float b) { return __builtin_fmaxf(a, b); }
GRETA_DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace greta::gpu::GRETA_FORM
