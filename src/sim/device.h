#pragma once
// Simulated devices, as kernels:
// a GPU's matrix unit, bit for bit (block.h), and its vector lanes.

#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernel.h"

namespace greta::sim {

/// A device by the name that --device takes after "sim:".
struct Device {
  std::string_view name;       // "mi300x"
  int wave;                    // lanes that share a row in its vector GEMV: 64 on AMD, 32 on NVIDIA
  std::string_view bf16, f16;  // its GEMM instruction for these inputs; empty: the unit has none
};

std::span<const Device> devices();

/// The kernels of all devices. Matrix: `sim.mi300x.mfma_f32_16x16x16_bf16.gemm`, a loop of the instruction
/// over K, accumulator in f32, and `.gemv_splitk4`: four such loops over a quarter of K each (whole
/// instructions, the first quarters longer), their results added in order, ((0 + 1) + 2) + 3. Vector:
/// `sim.mi300x.vector.gemm`, one f32 FMA chain per output in ascending K, and `.gemv_wave64`: lane l sums k =
/// l, l + 64, ... by FMAs, then a butterfly adds lanes l and l ^ 32, then 16, 8, 4, 2, 1. Weights are decoded
/// to f32 (and rounded to the instruction's inputs, as activations are).
std::vector<KernelInfo> kernels();

}  // namespace greta::sim
