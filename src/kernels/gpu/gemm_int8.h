#pragma once
// A GEMM of quantised weights, with the chain of matmul_int8.h. A work-group has 4 panels by its tokens; each
// wave has all panels by a quarter of the tokens, and where there are fewer tokens than that, waves share
// them and divide the panels. Blocks come in steps of 4 to shared memory; a step's scales are decoded once.

#include <type_traits>

#include "kernels/gpu/matmul_int8.h"
#include "kernels/gpu/mma.h"
#include "kernels/math.h"

namespace greta::gpu::GRETA_FORM {

/// A step of a panel's blocks in shared memory: scales, then codes; a run's head once.
template <TensorType kT>
struct PanelStep {
  using W = BlockWeight<kT>;
  using Shape = Int8GemmShape;
  static constexpr Shape kShape{kT, kWave};
  static constexpr BlockCode kCode = W::kCode;
  static constexpr bool kSuper = kCode.run() > 1;
  static constexpr int kHead = static_cast<int>(kCode.head_bytes()),
                       kSmall = static_cast<int>(kCode.small_bytes()),
                       kCodes = static_cast<int>(kCode.bytes());

  /// Where byte `at` of a step, whose first block is `block`, lies in the panel.
  static GRETA_DEVICE int64_t source(int64_t block, int at) {
    if constexpr (!kSuper) return block * kCode.run_bytes() + at;
    const int64_t run = block / kCode.run() * kCode.run_bytes(), in_run = block % kCode.run();
    if (at < kHead) return run + at;
    if (at < kHead + Shape::kBlocks * kSmall) return run + in_run * kSmall + at;
    return run + kCode.scale_bytes() + in_run * kCodes + at - kHead - Shape::kBlocks * kSmall;
  }
  static GRETA_DEVICE const std::byte* codes(const std::byte* step, int block) {
    return step + (kSuper ? kHead + Shape::kBlocks * kSmall + block * kCodes
                          : block * static_cast<int>(kCode.run_bytes()) + kHead);
  }
  static GRETA_DEVICE Scales<W::kGroups> scales(const std::byte* step, int block, int row) {
    const std::byte* head = step + (kSuper ? 0 : block * static_cast<int>(kCode.run_bytes())) + 2 * row;
    StoredScales stored{};
    stored.d = load<uint16_t>(head);
    if constexpr (W::kHasMin) stored.m = load<uint16_t>(head + 32);
    const std::byte* small = step + kHead + block * kSmall + row;
    if constexpr (kSmall > 0) stored.small[0] = load<uint8_t>(small);
    if constexpr (kSmall > 16) stored.small[1] = load<uint8_t>(small + 16);
    return W::decode(stored);
  }
};

/// d and m of a group of a weight row.
struct alignas(8) ScalePair {
  float d, m;
};

/// Those of a row whose number is even, and of the next.
struct alignas(16) ScaleRows {
  ScalePair of[2];
};

/// The steps of a work-group: tokens, and panels behind them; and one step's scales.
template <TensorType kT>
struct Int8Steps {
  using P = PanelStep<kT>;
  using Shape = Int8GemmShape;
  static constexpr Shape kShape = P::kShape;
  static constexpr int kQuads = Shape::kBlocks * static_cast<int>(sizeof(ActivationBlock)) / 16,
                       kPanelQuads = kShape.panel_bytes / 16, kGroups = P::W::kGroups;
  static_assert(kShape.panel_bytes % 16 == 0);

  const Args& args;
  SharedAt shared;
  int64_t token, panel, panels, blocks;  // the first ones of the work-group; those of the weight
  int tokens;
  // What this lane copies: a quad of every kPass-th row; a part of its wave's panel.
  static constexpr int kPass = Shape::kWaves * kWave / kQuads;
  int row, quad;
  const std::byte *x, *w;

  GRETA_DEVICE Int8Steps(const Args& of, std::byte* memory)
      : args(of),
        shared(memory),
        token(int64_t{group_x()} * kShape.tokens()),
        panel(int64_t{group_y() - of.first} * Shape::kPanels),
        panels((of.weight.n + kPanelRows - 1) / kPanelRows),
        blocks(of.weight.k / kBlock),
        tokens(static_cast<int>(smaller(kShape.tokens(), of.out.rows - token))),
        row(thread_index() / kQuads),
        quad(thread_index() % kQuads),
        x(of.in[0].raw_row(token) + row * of.in[0].stride + 16 * quad),
        w(of.weight.panels + smaller(panel + thread_index() / kWave, panels - 1) * of.weight.panel_bytes) {}

  GRETA_DEVICE SharedAt at(int64_t first) const {
    return shared + static_cast<int>(first) / Shape::kBlocks % 2 * kShape.step_bytes();
  }
  GRETA_DEVICE const ActivationBlock* token_at(int64_t first, int of) const {
    return reinterpret_cast<const ActivationBlock*>(at(first).bytes + of * Shape::kTokenBytes);
  }
  GRETA_DEVICE const std::byte* panel_at(int64_t first, int of) const {
    return at(first).bytes + kShape.tokens() * Shape::kTokenBytes + of * kShape.panel_bytes;
  }
  GRETA_DEVICE ScalePair& scale(int block, int weight_row, int group) const {
    constexpr int kRows = Shape::kPanels * static_cast<int>(kPanelRows);
    return reinterpret_cast<ScalePair*>(
        shared.bytes + 2 * kShape.step_bytes())[(block * kGroups + group) * kRows + weight_row];
  }

  GRETA_DEVICE ScaleRows scales(int block, int weight_row, int group) const {
    return load<ScaleRows>(reinterpret_cast<const std::byte*>(&scale(block, weight_row, group)));
  }

  /// Begins to copy the blocks from `first` on: lanes those of all tokens, each wave those of a panel. Tokens
  /// beyond the last are left as they are, panels beyond it are that one.
  GRETA_DEVICE void begin(int64_t first) const {
    static_assert(Shape::kPanels == Shape::kWaves);
    constexpr int kBlockQuads = static_cast<int>(sizeof(ActivationBlock)) / 16;
    if (row < kPass && first + quad / kBlockQuads < blocks) {
      const SharedAt to = at(first) + (row * Shape::kTokenBytes + 16 * quad);
      const std::byte* from = x + first * int64_t{sizeof(ActivationBlock)};
      const int64_t stride = kPass * args.in[0].stride;
#pragma unroll
      for (int i = 0; i < (kShape.tokens() + kPass - 1) / kPass; ++i, from += stride) {
        if (row + i * kPass < tokens) copy_quad(to + i * kPass * Shape::kTokenBytes, from);
      }
    }
    const SharedAt panel_to =
        at(first) + (kShape.tokens() * Shape::kTokenBytes + thread_index() / kWave * kShape.panel_bytes);
#pragma unroll
    for (int i = 0; i < (kPanelQuads + kWave - 1) / kWave; ++i) {
      const int byte = (i * kWave + lane_of_wave()) * 16;
      const int64_t source = P::source(first, byte);
      if (byte < kShape.panel_bytes && source < args.weight.panel_bytes)
        copy_quad(panel_to + byte, w + source);
    }
    end_batch();
  }

  /// Decodes the scales of a step that is there.
  GRETA_DEVICE void decode(int64_t first) const {
    constexpr int kRows = Shape::kPanels * static_cast<int>(kPanelRows);
    for (int i = thread_index(); i < kRows * Shape::kBlocks; i += thread_count()) {
      const int of_row = i % kRows, block = i / kRows, lane = of_row % static_cast<int>(kPanelRows);
      const auto of = P::scales(panel_at(first, of_row / static_cast<int>(kPanelRows)), block, lane);
#pragma unroll
      for (int g = 0; g < kGroups; ++g) scale(block, of_row, g) = {of.d[g], of.m[g]};
    }
  }
};

template <TensorType kT>
GRETA_DEVICE void int8_gemm(const Args& args) {
  using W = BlockWeight<kT>;
  using T = IntTile;
  using S = Int8Steps<kT>;
  using Shape = Int8GemmShape;
  constexpr int kGroups = W::kGroups, kOutputs = T::kOutRows * T::kOutTokens,
                kTiles = S::kShape.wave_tokens / T::kTokens, kPanels = Shape::kPanels;
  GRETA_SHARED_BESIDE(shared, S::kShape.bytes());
  const S steps(args, shared);
  // Waves divide the tokens, and what is left of them the panels.
  const int wave = thread_index() / kWave;
  const int64_t tokens = args.out.rows - steps.token;
  const int shares = tokens > 2 * S::kShape.wave_tokens ? 2 : tokens > S::kShape.wave_tokens ? 1 : 0;  // log2
  const int first_token = (wave & ((1 << shares) - 1)) * S::kShape.wave_tokens;
  const auto mine = [&](int p) { return p >> shares == wave >> shares; };
  const auto row_of = [](int p, int r) { return p * static_cast<int>(kPanelRows) + T::out_row(r); };

  float acc[kPanels][kTiles][kOutputs];
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      const int64_t n =
          smaller(steps.panel + p, steps.panels - 1) * kPanelRows + T::out_row(i / T::kOutTokens);
      const float first = first_sum(args, n);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) acc[p][t][i] = first;
    }
  }

  // A work-group with all its tokens has no wave that leaves panels out.
  const auto add_block = [&](auto whole, int64_t first, int block) {
    int x[kTiles][2];
    float d[kTiles][T::kOutTokens], s[kTiles][T::kOutTokens][kGroups];
    int begin[kTiles][T::kOutTokens][kGroups];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int token = first_token + t * T::kTokens;
      const auto* q = reinterpret_cast<const std::byte*>(steps.token_at(first, token + T::token()) + block);
      x[t][0] = load<int>(q + 4 * T::word()), x[t][1] = load<int>(q + 16 + 4 * T::word());
#pragma unroll
      for (int c = 0; c < T::kOutTokens; ++c) {
        const BlockSums<kGroups> sums(steps.token_at(first, token + T::out_token(c))[block]);
        d[t][c] = sums.d;
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
          s[t][c][g] = sums.s[g];
          begin[t][c][g] = -W::kOffset * sums.sum[g];
        }
      }
    }
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      if (!whole() && !mine(p)) continue;
      int low[T::kRows], high[T::kRows];
      const std::byte* codes = S::P::codes(steps.panel_at(first, p), block);
      // The words of neighbouring rows lie together.
      struct alignas(4 * T::kRows) Words {
        uint32_t of[T::kRows];
      };
#pragma unroll
      for (int i = 0; i < T::kRows; ++i) {
        const auto planes = [=](int r) { return load<Words>(codes + 64 * r + 4 * T::row(0)).of[i]; };
        low[i] = W::word(T::word(), planes);
        high[i] = W::word(T::word() + 4, planes);
      }
      ScalePair of[T::kOutRows][kGroups];
#pragma unroll
      for (int r = 0; r < T::kOutRows; r += 2) {
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
          const ScaleRows rows = steps.scales(block, row_of(p, r), g);
          of[r][g] = rows.of[0], of[r + 1][g] = rows.of[1];
        }
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        int dot[kGroups][4];
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
#pragma unroll
          for (int i = 0; i < kOutputs; ++i) dot[g][i] = begin[t][i % T::kOutTokens][g];
        }
        if constexpr (kGroups == 1) {
          multiply_block(dot[0], low, high, x[t][0], x[t][1]);
        } else {
          multiply_half(dot[0], low, x[t][0]);
          multiply_half(dot[1], high, x[t][1]);
        }
#pragma unroll
        for (int i = 0; i < kOutputs; ++i) {
          const int r = i / T::kOutTokens, c = i % T::kOutTokens;
#pragma unroll
          for (int g = 0; g < kGroups; ++g) {
            const float idot = static_cast<float>(dot[g][i]);
            float& sum = acc[p][t][i];
            sum = __builtin_fmaf(idot, of[r][g].d * d[t][c], sum);
            if constexpr (W::kHasMin) sum = __builtin_fmaf(of[r][g].m, s[t][c][g], sum);
          }
        }
      }
    }
  };

  steps.begin(0);
  for (int64_t first = 0; first < steps.blocks; first += Shape::kBlocks) {
    wait_for_batches<0>();
    meet();  // and the step before this one is done with
    if (first + Shape::kBlocks < steps.blocks) steps.begin(first + Shape::kBlocks);
    steps.decode(first);
    meet();
    const int count = static_cast<int>(smaller(Shape::kBlocks, steps.blocks - first));
    if (kGroups == 1 && count == Shape::kBlocks &&
        shares == 2) {  // of two groups there'd be too much to keep
#pragma unroll
      for (int block = 0; block < Shape::kBlocks; ++block) add_block(std::true_type{}, first, block);
    } else {
      for (int block = 0; block < count; ++block) add_block(std::false_type{}, first, block);
    }
  }
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
    if (!mine(p)) continue;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int c = 0; c < T::kOutTokens; ++c) {
        float rows[T::kOutRows];
#pragma unroll
        for (int r = 0; r < T::kOutRows; ++r) rows[r] = acc[p][t][r * T::kOutTokens + c];
        store_sums(args, steps.token + first_token + t * T::kTokens + T::out_token(c),
                   steps.panel * kPanelRows + row_of(p, 0), rows);
      }
    }
  }
}

}  // namespace greta::gpu::GRETA_FORM
