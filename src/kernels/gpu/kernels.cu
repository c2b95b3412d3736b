// The code object: CUDA (nvcc) or HIP (clang); neither needs a GPU or the other's headers.

#include "kernels/gpu/kernels.h"

#if defined(__HIP__)
#define GRETA_ARGS const Args args
#define GRETA_GLOBAL(id) \
  __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(64, launching(id, kWave).threads)))
#else
#define GRETA_ARGS const __grid_constant__ Args args
#define GRETA_GLOBAL(id) \
  __global__ __launch_bounds__(launching(id, kWave).threads, launching(id, kWave).groups)
#endif

namespace greta::gpu::GRETA_FORM {

#define GRETA_GPU_X(name, body)                                           \
  extern "C" GRETA_GLOBAL(KernelId::name) void greta_##name(GRETA_ARGS) { \
    run(args, KernelId::name, [&] { body(args); });                       \
  }
GRETA_GPU_KERNELS
#undef GRETA_GPU_X

}  // namespace greta::gpu::GRETA_FORM
