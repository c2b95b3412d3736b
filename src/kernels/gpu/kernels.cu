// The code object: CUDA (nvcc) or HIP (clang); neither needs a GPU or the other's headers.

#include "kernels/gpu/kernels.h"

#if defined(__HIP__)
#define GRETA_ARGS(id) const Parts<launching(id, kWave).parts> parts
#define GRETA_GLOBAL(id) \
  __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(64, launching(id, kWave).threads)))
#else
#define GRETA_ARGS(id) const __grid_constant__ Parts<launching(id, kWave).parts> parts
#define GRETA_GLOBAL(id) \
  __global__ __launch_bounds__(launching(id, kWave).threads, launching(id, kWave).groups)
#endif

namespace greta::gpu::GRETA_FORM {

#define GRETA_GPU_X(name, body)                                                           \
  extern "C" GRETA_GLOBAL(KernelId::name) void greta_##name(GRETA_ARGS(KernelId::name)) { \
    run<KernelId::name>(parts.of, [](const auto& args) { body(args); });                  \
  }
GRETA_GPU_KERNELS
#undef GRETA_GPU_X

#if defined(__CUDACC__)
/// Reads `count` quads and does nothing else: what the card's memory can.
extern "C" __global__ void greta_read_memory(const Quad* from, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const Quad quad = from[i];
    sum += quad.words[0] ^ quad.words[1] ^ quad.words[2] ^ quad.words[3];
  }
  if (sum == 12345) *out = sum;
}
#endif

}  // namespace greta::gpu::GRETA_FORM
