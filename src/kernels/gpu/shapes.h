#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int64_t kStaticBytes = 48 << 10;  // of shared memory that every device gives without asking

inline constexpr int kRowThreads = 128;  // of row-wise ops and of attention

// Of a GEMV: threads that make links (one wave more, of any vendor, chains them), work-groups that a processor
// has at once.
inline constexpr int kDotThreads = 256;
inline constexpr int kMostWave = 64;
inline constexpr int kGemvGroups = 2;
inline constexpr int kGemvResident = 3;      // the next kernel's, too: what registers allow
inline constexpr int kGemvBytes = 61 << 10;  // of shared memory for all of it

inline constexpr int kUnitBlocks = 8;  // those that share scales, where any do

/// What a GEMV's work-group has in shared memory: a ring of units of weights and activations for each wave, and
/// slots of links.
struct GemvShape {
  int block_bytes, unit_bytes, link_bytes, slot_bytes, waves, stages;

  constexpr GemvShape(const BlockCode& code, int wave)
      : block_bytes(static_cast<int>(code.run_bytes() / code.run())),
        unit_bytes(kUnitBlocks * (block_bytes + static_cast<int>(sizeof(ActivationBlock)))),
        link_bytes(code.has_min ? 16 : 8),
        slot_bytes(kUnitBlocks * code.groups * static_cast<int>(kPanelRows) * link_bytes),
        waves(kDotThreads / wave),
        stages((kGemvBytes - waves * slot_bytes) / (waves * unit_bytes)) {}
  constexpr int ring_bytes() const { return waves * stages * unit_bytes; }
  constexpr int bytes() const { return ring_bytes() + waves * slot_bytes; }
};

inline constexpr int kTileWaves = 4;  // of a GEMM's work-group, a panel each, by so many tokens
inline constexpr int kGroupTokens = 64;

inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
