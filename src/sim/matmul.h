#pragma once
// The products of simulated devices, as kernels (device.h says the order of every sum). A panel of 16 output
// rows is decoded once and serves all input rows. A bias is C of the first instruction of K's first part, or
// where the chain of lane 0 begins.

#include "kernels/kernel.h"

namespace greta::sim {

inline constexpr int kGemvSplits = 4;  // of K in a matrix GEMV

void matrix_gemm(const KernelArgs& args, Part part);  // args.kernel->roundings.unit is the instruction
void matrix_gemv(const KernelArgs& args, Part part);
/// The order of kernels/gpu/matmul_half.h: chains of roundings.slice along K, each from zero, added in order
/// to the bias. Activations come as f32, or rounded already.
void matrix_slices(const KernelArgs& args, Part part);
void vector_gemm(const KernelArgs& args, Part part);
void vector_gemv_wave64(const KernelArgs& args, Part part);
void vector_gemv_wave32(const KernelArgs& args, Part part);

}  // namespace greta::sim
