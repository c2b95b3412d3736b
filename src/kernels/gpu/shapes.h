#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int64_t kStaticBytes = 48 << 10;  // of shared memory that every device gives without asking

inline constexpr int kRowThreads = 128;  // of row-wise ops and of attention

// Of a GEMV: threads that make links (one wave more, of any vendor, chains them), units that each of their
// waves has on the way, and work-groups of a processor at once, for as many registers a lane may have.
inline constexpr int kDotThreads = 256;
inline constexpr int kMostWave = 64;
inline constexpr int kGemvStages = 2;
inline constexpr int kGemvGroups = 3;

inline constexpr int kUnitBlocks = 8;  // those that share scales, where any do

/// What a GEMV's work-group has in shared memory: for each wave a ring of units of weights and activations,
/// and a slot of links.
struct GemvShape {
  int block_bytes, unit_bytes, link_bytes, slot_bytes, waves;

  constexpr GemvShape(const BlockCode& code, int wave)
      : block_bytes(static_cast<int>(code.run_bytes() / code.run())),
        unit_bytes(kUnitBlocks * (block_bytes + static_cast<int>(sizeof(ActivationBlock)))),
        link_bytes(code.has_min ? 16 : 8),
        slot_bytes(kUnitBlocks * code.groups * static_cast<int>(kPanelRows) * link_bytes),
        waves(kDotThreads / wave) {}
  constexpr int ring_bytes() const { return waves * kGemvStages * unit_bytes; }
  constexpr int bytes() const { return ring_bytes() + waves * slot_bytes; }
  /// Work-groups that a processor with so much shared memory has at once.
  constexpr int groups(int shared) const {
    constexpr int kOwn = 1 << 10;  // what a work-group takes besides
    const int fit = shared / (bytes() + kOwn);
    return fit < 1 ? 1 : fit < kGemvGroups ? fit : kGemvGroups;
  }
};

inline constexpr int kTileWaves = 4;  // of a GEMM's work-group, a panel each, by so many tokens
inline constexpr int kGroupTokens = 64;

inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
