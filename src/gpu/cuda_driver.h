#pragma once
// The calls of the CUDA driver (libcuda.so.1) that GRETA needs, with the types that they have there.

#include <cstddef>
#include <cstdint>

namespace greta::gpu {

using CudaAddress = uint64_t;

// Attributes of a device.
inline constexpr int kProcessors = 16, kComputeMajor = 75, kComputeMinor = 76, kSharedOfProcessor = 81,
                     kSharedOfGroup = 97;

// Of a function: the most shared memory that a launch may ask for beside what the kernel declares, and the
// share of the first-level cache that serves as shared memory, in percent.
inline constexpr int kMostShared = 8, kSharedShare = 9;

// Of a launch.
inline constexpr int kOverlapsPrevious = 6;  // "programmatic stream serialization"
struct CudaLaunchAttribute {
  int id;
  char padding[4];
  int value;
  char rest[60];
};
struct CudaLaunch {
  unsigned grid[3], block[3], shared;
  void* stream;
  const CudaLaunchAttribute* attributes;
  unsigned attribute_count;
};

/// X(name, exported name, parameters): each returns a CUresult, 0 for success.
#define GRETA_CUDA_CALLS(X)                                                                             \
  X(init, "cuInit", (unsigned flags))                                                                   \
  X(error_text, "cuGetErrorString", (int error, const char** text))                                     \
  X(device_count, "cuDeviceGetCount", (int* count))                                                     \
  X(device_get, "cuDeviceGet", (int* device, int index))                                                \
  X(device_name, "cuDeviceGetName", (char* text, int size, int device))                                 \
  X(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, int device))                  \
  X(context_retain, "cuDevicePrimaryCtxRetain", (void** context, int device))                           \
  X(context_release, "cuDevicePrimaryCtxRelease_v2", (int device))                                      \
  X(context_set, "cuCtxSetCurrent", (void* context))                                                    \
  X(module_load, "cuModuleLoadData", (void** module, const void* image))                                \
  X(module_unload, "cuModuleUnload", (void* module))                                                    \
  X(module_function, "cuModuleGetFunction", (void** function, void* module, const char* name))          \
  X(function_set, "cuFuncSetAttribute", (void* function, int attribute, int value))                     \
  X(stream_create, "cuStreamCreate", (void** stream, unsigned flags))                                   \
  X(stream_destroy, "cuStreamDestroy_v2", (void* stream))                                               \
  X(stream_wait, "cuStreamSynchronize", (void* stream))                                                 \
  X(capture_begin, "cuStreamBeginCapture_v2", (void* stream, int mode))                                 \
  X(capture_end, "cuStreamEndCapture", (void* stream, void** graph))                                    \
  X(graph_make, "cuGraphInstantiateWithFlags", (void** exec, void* graph, unsigned long long flags))    \
  X(graph_launch, "cuGraphLaunch", (void* exec, void* stream))                                          \
  X(graph_destroy, "cuGraphDestroy", (void* graph))                                                     \
  X(exec_destroy, "cuGraphExecDestroy", (void* exec))                                                   \
  X(memory_info, "cuMemGetInfo_v2", (size_t * free, size_t * total))                                    \
  X(allocate, "cuMemAlloc_v2", (CudaAddress * address, size_t bytes))                                   \
  X(release, "cuMemFree_v2", (CudaAddress address))                                                     \
  X(host_allocate, "cuMemHostAlloc", (void** memory, size_t bytes, unsigned flags))                     \
  X(host_release, "cuMemFreeHost", (void* memory))                                                      \
  X(upload, "cuMemcpyHtoDAsync_v2", (CudaAddress to, const void* from, size_t bytes, void* stream))     \
  X(download, "cuMemcpyDtoHAsync_v2", (void* to, CudaAddress from, size_t bytes, void* stream))         \
  X(fill, "cuMemsetD8Async", (CudaAddress to, unsigned char value, size_t bytes, void* stream))         \
  X(encode_map, "cuTensorMapEncodeTiled",                                                               \
    (void* map, int element, unsigned rank, void* data, const uint64_t* sizes, const uint64_t* strides, \
     const unsigned* box, const unsigned* steps, int interleave, int swizzle, int promotion, int fill)) \
  X(launch, "cuLaunchKernelEx", (const CudaLaunch* launch, void* function, void** args, void** extra))

struct CudaDriver {
#define GRETA_CUDA_CALL(name, symbol, parameters) int(*name) parameters = nullptr;
  GRETA_CUDA_CALLS(GRETA_CUDA_CALL)
#undef GRETA_CUDA_CALL
};

}  // namespace greta::gpu
