#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int kRowThreads = 128;  // of row-wise ops and of attention

// Of a GEMV: threads that make integer sums, blocks of each team in a step, and one wave more (of any vendor)
// that adds the sums up. Tried on an H100: 4 blocks a step, or 128 or 384 threads. Most shapes are slower, by
// up to two thirds; none is faster by more than a tenth.
inline constexpr int kDotThreads = 256;
inline constexpr int kDotBlocks = 2;
inline constexpr int kChainThreads = 64;

inline constexpr int kTileWaves = 4;  // of a GEMM's work-group, a panel each, by so many tokens
inline constexpr int kGroupTokens = 64;

inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
