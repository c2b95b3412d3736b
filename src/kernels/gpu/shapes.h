#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int kRowThreads = 128;   // of row-wise ops and of attention
inline constexpr int kDotThreads = 256;   // of a GEMV: they make integer sums, and one wave more adds them up
inline constexpr int kChainThreads = 64;  // enough for a wave of any vendor
inline constexpr int kTileWaves = 4;      // of a GEMM's work-group, a panel each
inline constexpr int kTileTokens = 4;     // tiles of the matrix unit that a wave holds
inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
