#pragma once
// What each file of kernels offers to the table (table.cpp). Plain data: these files are compiled for one ISA
// and must not share inline functions with the rest of the program.

#include "kernels/kernel.h"

namespace greta {

inline constexpr TensorType kNoType{0xffffffff};

struct KernelEntry {
  const char* name;
  OpKind op;
  TensorType type = kNoType;  // of matmul and embed
  bool is_matmul = false;     // then it has a route and a shape
  Route route = Route::vector;
  Shape shape = Shape::gemm;
  Roundings roundings = {};
  KernelFn run = nullptr;
};

struct KernelList {
  const KernelEntry* entries;
  int count;
};

#define GRETA_KERNEL_LISTS(isa)                \
  namespace isa {                              \
  extern const KernelList kElementwiseKernels; \
  extern const KernelList kAttentionKernels;   \
  extern const KernelList kExpertKernels;      \
  extern const KernelList kVectorKernels;      \
  extern const KernelList kInt8Kernels;        \
  extern const KernelList kBf16Kernels;        \
  }
GRETA_KERNEL_LISTS(scalar)
GRETA_KERNEL_LISTS(avx2)
GRETA_KERNEL_LISTS(avx512)
#undef GRETA_KERNEL_LISTS

}  // namespace greta
