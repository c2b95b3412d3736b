#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int kRowThreads = 128;  // of row-wise ops and of attention

// Of a GEMV: threads that make links (one wave more, of any vendor, chains them), work-groups that a processor
// has at once, and bytes of shared memory that each takes.
inline constexpr int kDotThreads = 128;
inline constexpr int kMostWave = 64;
inline constexpr int kGemvGroups = 2;
inline constexpr int64_t kRingBytes = 47 << 10;

inline constexpr int kTileWaves = 4;  // of a GEMM's work-group, a panel each, by so many tokens
inline constexpr int kGroupTokens = 64;

inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
