#pragma once
// Products by the matrices of the chosen experts: each by the very matmul kernel that a dense layer has.

#include <vector>

#include "kernels/kernel.h"

namespace greta {

/// For each matmul of `table` the expert_matmul that runs it, named as it is with ".experts" behind.
void add_expert_kernels(std::vector<KernelInfo>& table);

/// Floats of scratch that a thread needs for an expert_matmul with these arguments (`weight`, `params`, `out`
/// and both inputs' shapes are looked at).
int64_t expert_scratch_floats(const KernelArgs& args);

}  // namespace greta
