#pragma once
// How much of an op a work-group does: what a kernel and the host that launches it must both know.

#include "kernels/gpu/args.h"

namespace greta::gpu {

inline constexpr int64_t kStaticBytes = 48 << 10;  // of shared memory that every device gives without asking

inline constexpr int kRowThreads = 128;    // of row-wise ops and of attention
inline constexpr int kNormThreads = 512;   // of a norm: its loads are all on their way at once
inline constexpr int64_t kRowChunk = 128;  // of a row: what a work-group has at least of an op

// Of a GEMV: threads that make links (one wave more, of any vendor, chains them), and work-groups of a
// processor at once, for as many registers a lane may have.
inline constexpr int kDotThreads = 256;
inline constexpr int kGemvGroups = 3;

inline constexpr int kUnitBlocks = 8;  // those that share scales, where any do
inline constexpr int kSlice = kUnitBlocks * static_cast<int>(kBlock);  // k of a chain of 16-bit products

/// Weights without blocks of codes: two bytes each, the matrix unit's own.
constexpr bool is_half(TensorType type) { return type == TensorType::f16 || type == TensorType::bf16; }

/// What a GEMV's work-group has in shared memory: for each wave a ring of units of weights and activations,
/// and a slot of links.
struct GemvShape {
  int block_bytes, x_bytes;  // of 32 k: a panel's, a row's
  int unit_bytes, link_bytes, slot_bytes, waves, stages;

  constexpr GemvShape(TensorType type, int wave) : waves(kDotThreads / wave) {
    const BlockCode code = block_code(type);
    const bool half = is_half(type);
    block_bytes = static_cast<int>(half ? kBlock * kPanelRows * 2 : code.run_bytes() / code.run());
    x_bytes = static_cast<int>(half ? kBlock * 2 : int64_t{sizeof(ActivationBlock)});
    unit_bytes = kUnitBlocks * (block_bytes + x_bytes);
    link_bytes = half ? 4 : code.has_min ? 16 : 8;
    slot_bytes = (half ? 1 : kUnitBlocks * code.groups) * static_cast<int>(kPanelRows) * link_bytes;
    stages = half && wave == 64 ? 1 : 2;  // AMD's shared memory is small
  }
  constexpr int x_at() const { return kUnitBlocks * block_bytes; }  // in a unit
  constexpr int ring_bytes() const { return waves * stages * unit_bytes; }
  constexpr int bytes() const { return ring_bytes() + waves * slot_bytes; }
  /// Work-groups that a processor with so much shared memory has at once.
  constexpr int groups(int shared) const {
    constexpr int kOwn = 1 << 10;  // what a work-group takes besides
    const int fit = shared / (bytes() + kOwn);
    return fit < 1 ? 1 : fit < kGemvGroups ? fit : kGemvGroups;
  }
};

/// A GEMM of 16-bit weights: a work-group's panels (a wave has one) and tokens, in stages of 64 k that other
/// waves copy.
struct HalfGemmShape {
  int panels, tokens, copiers, stages;

  static constexpr int kStageK = 64, kRowBytes = 2 * kStageK,
                       kPanelBytes = kRowBytes * static_cast<int>(kPanelRows);
  explicit constexpr HalfGemmShape(int wave)
      : panels(wave == 64 ? 4 : 8),
        tokens(wave == 64 ? 64 : 128),
        copiers(128 / wave),
        stages(wave == 64 ? 3 : 5) {}
  constexpr int waves() const { return panels + copiers; }
  constexpr int stage_bytes() const { return tokens * kRowBytes + panels * kPanelBytes; }
  constexpr int gates_at() const { return stages * stage_bytes(); }
  constexpr int bytes() const { return gates_at() + 2 * stages * 8; }  // gates are of 8 bytes
};

/// A GEMM of quantised weights: a work-group's panels and tokens, which its waves share, in steps of 4
/// blocks: two of them, and the scales of one, in shared memory.
struct Int8GemmShape {
  static constexpr int kBlocks = 4, kPanels = 4, kWaves = 4, kGroups = 3;  // work-groups of a processor
  static constexpr int kTokenBytes = kBlocks * static_cast<int>(sizeof(ActivationBlock)) + 16;  // apart
  int wave_tokens, panel_bytes, scale_bytes;  // of a step: a panel's bytes, all panels' scales

  constexpr Int8GemmShape(TensorType type, int wave) : wave_tokens(wave == 64 ? 16 : 32) {
    const BlockCode code = block_code(type);
    const int64_t heads = code.run() == 1 ? kBlocks : 1;
    panel_bytes = static_cast<int>(heads * code.head_bytes() + kBlocks * (code.small_bytes() + code.bytes()));
    scale_bytes = kPanels * static_cast<int>(kPanelRows) * kBlocks * code.groups * 8;
  }
  constexpr int tokens() const { return kWaves * wave_tokens; }
  constexpr int step_bytes() const { return tokens() * kTokenBytes + kPanels * panel_bytes; }
  constexpr int bytes() const { return 2 * step_bytes() + scale_bytes; }
};

inline constexpr int kMostHeadDim = 256;  // of attention that holds rows in shared memory

/// A decode step's attention: stages of positions, all scores, and four rows of a head in shared memory.
struct AttentionStep {
  int stage_bytes, stages;
  int64_t most_positions;

  explicit constexpr AttentionStep(int wave)
      : stage_bytes(wave == 64 ? 16 << 10 : 32 << 10),
        stages(wave == 64 ? 2 : 3),
        most_positions(wave == 64 ? 6144 : 14336) {}
  /// Of a stage; whole blocks of 16.
  constexpr int positions(int head_dim) const { return stage_bytes / (head_dim * 4) / 16 * 16; }
  constexpr int rows_at() const { return stages * stage_bytes; }
  constexpr int scores_at() const { return rows_at() + 4 * kMostHeadDim * 4; }
  constexpr int bytes(int64_t capacity) const {
    return scores_at() + static_cast<int>(capacity + 15) / 16 * 16 * 4;
  }
};

/// A decode step's attention over many positions (attention_split.h). Scores: a work-group has a run of
/// positions of a kv head. Mix: it has up to kHeads heads that share one, by kDims dims; all their scores lie
/// in shared memory. Both have stages of keys or values there.
struct AttentionSplit {
  static constexpr int kDims = 32, kHeads = kRowThreads / kDims;
  static constexpr int kLeast = 64;   // positions that are worth a work-group,
  static constexpr int kShort = 128;  // and those that one for each head does sooner
  static constexpr int kStages = 2;
  int stage_bytes, most_scores;

  explicit constexpr AttentionSplit(int wave)
      : stage_bytes(wave == 64 ? 16 << 10 : 32 << 10), most_scores(wave == 64 ? 7680 : 39936) {}
  constexpr int ring_bytes() const { return kStages * stage_bytes; }
  /// Floats from one head's query to the next: heads of neighbouring teams meet in no bank.
  static constexpr int pitch(int head_dim) { return head_dim + 4; }
  /// The queries of a kv head, and its key.
  constexpr int scores_bytes(int head_dim, int group) const {
    return ring_bytes() + (group + 1) * pitch(head_dim) * 4;
  }
  constexpr int heads(int capacity, int group) const {
    const int most = most_scores / capacity, fit = most < kHeads ? most : kHeads;
    return fit < group ? fit : group;
  }
  constexpr int mix_bytes(int capacity, int group) const {
    return ring_bytes() + heads(capacity, group) * capacity * 4;
  }
  static constexpr int dims(int head_dim) { return head_dim < kDims ? head_dim : kDims; }
};

/// Attention of many rows: a work-group's queries of one kv head, and what it streams through shared memory.
/// A thread has a run of queries by 8 positions (or dims).
struct AttentionTile {
  static constexpr int kPositions = 128, kDims = 128;
  int run, queries, threads;
  int stage_dims, stage_bytes, stages;  // a stage: so many dims of the keys of kPositions

  /// `many`: where there are so many queries that larger tiles leave no processor without one.
  constexpr AttentionTile(int wave, bool many)
      : run(many && wave == 32 ? 16 : 8),
        queries(wave == 64 ? 32 : 8 * run),
        threads(queries / run * kPositions / 8),
        stage_dims(wave == 64 || many ? 32 : 64),
        stage_bytes(stage_dims * kPositions * 4),
        stages(wave == 64 ? 1 : 2) {}
  /// Positions of a stage of values; their weights take the queries' place.
  constexpr int value_positions(int head_dim) const {
    const int fit = stage_bytes / (head_dim * 4);
    return (fit < head_dim ? fit : head_dim) / 16 * 16;
  }
  constexpr int queries_bytes(int head_dim) const { return queries * head_dim * 4; }
  constexpr int bytes(int head_dim) const { return queries_bytes(head_dim) + stages * stage_bytes; }
  constexpr int64_t tiles(int64_t of_queries) const { return (of_queries + queries - 1) / queries; }
  /// Of scratch: floats of a query, bytes of a work-group.
  static constexpr int64_t stride(int64_t capacity) {
    return (capacity + kPositions - 1) / kPositions * kPositions;
  }
  constexpr int64_t scratch_bytes(int64_t capacity) const { return queries * stride(capacity) * 4; }
};

inline constexpr int kVectorThreads = 64;
inline constexpr int kVectorTokens = 4;  // of the vector route's GEMM

}  // namespace greta::gpu
