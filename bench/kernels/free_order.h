#pragma once
// The int8 kernels with their order of sums set free:
// what invariance_tax holds the contract's kernels against.

#include "kernels/kernel.h"

namespace greta::bench {

/// A kernel like the contract's of the same weight type and shape, but for the order of its f32 sums.
struct FreeOrder {
  const char* how;
  TensorType type;
  Shape shape;
  KernelFn run;
};

/// Several ideas for each type and shape; the last has type f32 and no function. AVX-512 VNNI.
extern const FreeOrder kFreeOrders[];

}  // namespace greta::bench
