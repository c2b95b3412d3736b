#pragma once
// Matrix route for quantised weights, with the CPU's chain (kernels/cpu/matmul_int8.h). Per output, from acc
// = the bias or 0, in ascending k, for every group of scales:
//   acc = fma(float(idot), d_w * d_x, acc)     idot the exact integer sum of (u - offset) q
//   acc = fma(m_w, s_x, acc)                   of types with a minimum
// Integer sums need no order: a GEMM's come from the matrix unit, a GEMV's from all lanes at once. Only the
// chain of FMAs has one.

#include "kernels/gpu/block_weight.h"
#include "kernels/gpu/copy.h"
#include "kernels/gpu/mma.h"
#include "kernels/gpu/shapes.h"

namespace greta::gpu::GRETA_FORM {

/// What an output's sum begins with.
GRETA_DEVICE float first_sum(const Args& args, int64_t n) {
  return args.bias == nullptr ? 0.0f : args.bias[n];
}

GRETA_DEVICE void store_sum(const Args& args, int64_t row, int64_t n, float sum) {
  if (row >= args.out.rows || n >= args.weight.n) return;
  args.out.row(row)[n] = args.params.scale == 1 ? sum : sum * args.params.scale;
}

/// The numbers of a block of activations that its products need beside the codes.
template <int kGroups>
struct BlockSums {
  float d, s[kGroups];
  int sum[kGroups];

  explicit GRETA_DEVICE BlockSums(const ActivationBlock& x) : d(x.d) {
    if constexpr (kGroups == 1) {
      sum[0] = x.sum;
      s[0] = x.s;
    } else {
      sum[0] = x.sum_low;
      sum[1] = x.sum - x.sum_low;
      for (int g = 0; g < kGroups; ++g) s[g] = d * static_cast<float>(sum[g]);
    }
  }
};

/// A link of an output's chain.
template <bool kHasMin>
struct Link {
  float idot, d, m, s;
  GRETA_DEVICE float add_to(float acc) const { return __builtin_fmaf(m, s, __builtin_fmaf(idot, d, acc)); }
};
template <>
struct Link<false> {
  float idot, d;
  GRETA_DEVICE float add_to(float acc) const { return __builtin_fmaf(idot, d, acc); }
};

template <class W>
GRETA_DEVICE Link<W::kHasMin> link(int dot, const Scales<W::kGroups>& of, const BlockSums<W::kGroups>& x,
                                   int g) {
  const float idot = static_cast<float>(dot - W::kOffset * x.sum[g]), d = of.d[g] * x.d;
  if constexpr (W::kHasMin) {
    return {idot, d, of.m[g], x.s[g]};
  } else {
    return {idot, d};
  }
}

/// A block of a weight row on its way from memory.
template <class W>
struct Asked {
  uint32_t planes[W::kCode.bits];
  StoredScales scales;

  GRETA_DEVICE void ask(const std::byte* panel, int64_t block, int row, const StoredScales* before) {
    const auto from = W::planes(panel, block, row);
#pragma unroll
    for (int r = 0; r < W::kCode.bits; ++r) planes[r] = from(r);
    scales = W::stored_scales(panel, block, row, before);
  }
};

/// The links of one block of a weight row.
template <class W>
GRETA_DEVICE void make_links(const Asked<W>& weight, const ActivationBlock& x, Link<W::kHasMin>* to) {
  constexpr int kGroups = W::kGroups;
  const auto* bytes = reinterpret_cast<const std::byte*>(&x);
  const Quad quads[2] = {load<Quad>(bytes), load<Quad>(bytes + 16)};
  int dot[kGroups] = {};
#pragma unroll
  for (int g = 0; g < 8; ++g) {
    const int word = W::word(g, [&](int r) { return weight.planes[r]; });
    int& sum = dot[g * kGroups / 8];
    sum = dot4(word, static_cast<int>(quads[g / 4].words[g % 4]), sum);
  }
  const auto of = W::decode(weight.scales);
  const BlockSums<kGroups> sums(x);
#pragma unroll
  for (int g = 0; g < kGroups; ++g) to[g * kTeam] = link<W>(dot[g], of, sums, g);
}

/// One row of activations against a panel. Teams make the links of blocks, lane = weight row, a step at a
/// time, and ask for the next step's weights before they meet; one wave more chains the links of the step
/// before.
template <TensorType kT>
GRETA_DEVICE void gemv(const Args& args) {
  using W = BlockWeight<kT>;
  constexpr int kTeams = kDotThreads / kTeam, kGroups = W::kGroups;
  constexpr int kStep = kDotBlocks * kTeams, kLinks = kStep * kGroups * kTeam;
  GRETA_SHARED(Link<W::kHasMin>, links, 2 * kLinks);
  const std::byte* panel = args.weight.panels + group_x() * args.weight.panel_bytes;
  const ActivationBlock* x = args.in[0].row<ActivationBlock>(0);
  const int64_t blocks = args.weight.k / kBlock;
  const int team = thread_index() / kTeam, row = lane_of_team();
  const bool makes = thread_index() < kDotThreads;
  const bool chains = !makes && thread_index() < kDotThreads + kTeam;
  const auto block_of = [&](int64_t begin, int i) { return begin + team * kDotBlocks + i; };
  Asked<W> asked[kDotBlocks];
  const auto ask = [&](int64_t begin) {
#pragma unroll
    for (int i = 0; i < kDotBlocks; ++i) {
      if (block_of(begin, i) < blocks) {
        const bool same_run = i > 0 && W::kCode.run() % kDotBlocks == 0;
        asked[i].ask(panel, block_of(begin, i), row, same_run ? &asked[0].scales : nullptr);
      }
    }
  };
  if (makes) ask(0);
  float acc = first_sum(args, group_x() * kPanelRows + row);
  // One round more: the chain follows a step behind.
  for (int64_t begin = 0, turn = 0; begin < blocks + kStep; begin += kStep, turn ^= 1) {
    if (makes) {
#pragma unroll
      for (int i = 0; i < kDotBlocks; ++i) {
        const int64_t b = block_of(begin, i);
        if (b < blocks)
          make_links(asked[i], x[b], links + turn * kLinks + (b - begin) * kGroups * kTeam + row);
      }
      ask(begin + kStep);
    } else if (chains && begin > 0) {
      const Link<W::kHasMin>* from = links + (turn ^ 1) * kLinks + row;
      const int64_t count = smaller(kStep, blocks - (begin - kStep)) * kGroups;
#pragma unroll 16
      for (int64_t i = 0; i < count; ++i) acc = from[i * kTeam].add_to(acc);
    }
    meet();
  }
  if (chains) store_sum(args, 0, group_x() * kPanelRows + row, acc);
}

/// Activations of a GEMM's tokens in shared memory: a step of blocks, and room so that lanes of eight tokens
/// meet in no bank.
struct TokenStep {
  static constexpr int kBlocks = 4, kQuads = kBlocks * sizeof(ActivationBlock) / 16,
                       kStride = 16 * (kQuads + 1);
  static constexpr int kBytes = kGroupTokens * kStride;

  /// Begins to copy blocks from `first` on of tokens from `token` on; of rows beyond the last: the last
  /// one's.
  static GRETA_DEVICE void begin(const Args& args, int64_t token, int64_t first, std::byte* to) {
    const int64_t bytes = smaller(kBlocks, args.weight.k / kBlock - first) * int64_t{sizeof(ActivationBlock)};
    for (int i = thread_index(); i < kGroupTokens * kQuads; i += thread_count()) {
      const int at = i % kQuads * 16;
      if (at >= bytes) continue;
      const std::byte* row = args.in[0].raw_row(smaller(token + i / kQuads, args.out.rows - 1));
      copy_quad(to + i / kQuads * kStride + at, row + first * int64_t{sizeof(ActivationBlock)} + at);
    }
    end_batch();
  }
  static GRETA_DEVICE const ActivationBlock& at(const std::byte* step, int token, int block) {
    return reinterpret_cast<const ActivationBlock*>(step + token * kStride)[block];
  }
};

/// A wave has a panel and as many tiles of the matrix unit as the work-group has tokens; after each block,
/// its outputs take their links.
template <TensorType kT>
GRETA_DEVICE void gemm(const Args& args) {
  using W = BlockWeight<kT>;
  using T = IntTile;
  constexpr int kGroups = W::kGroups, kOutputs = T::kOutRows * T::kOutTokens,
                kTiles = kGroupTokens / T::kTokens;
  GRETA_SHARED(std::byte, x, 2 * TokenStep::kBytes);
  const int64_t panels = (args.weight.n + kPanelRows - 1) / kPanelRows, blocks = args.weight.k / kBlock;
  const int64_t p = group_x() * kTileWaves + thread_index() / kWave;
  // A wave without a panel goes over the last one, and stores nothing: lanes meet in the matrix unit.
  const std::byte* panel = args.weight.panels + smaller(p, panels - 1) * args.weight.panel_bytes;
  const int64_t first_token = int64_t{group_y()} * kGroupTokens;
  const int tiles =
      static_cast<int>(smaller(kTiles, (args.out.rows - first_token + T::kTokens - 1) / T::kTokens));
  float acc[kTiles][kOutputs];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < kOutputs; ++i)
      acc[t][i] = first_sum(args, smaller(p, panels - 1) * kPanelRows + T::out_row(i / T::kOutTokens));
  }
  const auto add_block = [&](const std::byte* step, int64_t b, int at) {
    int low[T::kRows], high[T::kRows];
    for (int i = 0; i < T::kRows; ++i) {
      const auto planes = W::planes(panel, b, T::row(i));
      low[i] = W::word(T::word(), planes);
      high[i] = W::word(T::word() + 4, planes);
    }
    Scales<kGroups> of[T::kOutRows];
    for (int i = 0; i < T::kOutRows; ++i) of[i] = W::scales(panel, b, T::out_row(i));
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      if (t >= tiles) continue;
      const auto* q =
          reinterpret_cast<const std::byte*>(&TokenStep::at(step, t * T::kTokens + T::token(), at));
      const int x_low = load<int>(q + 4 * T::word()), x_high = load<int>(q + 16 + 4 * T::word());
      int dot[kGroups][4] = {};
      if constexpr (kGroups == 1) {
        multiply_block(dot[0], low, high, x_low, x_high);
      } else {
        multiply_half(dot[0], low, x_low);
        multiply_half(dot[1], high, x_high);
      }
#pragma unroll
      for (int c = 0; c < T::kOutTokens; ++c) {
        const BlockSums<kGroups> sums(TokenStep::at(step, t * T::kTokens + T::out_token(c), at));
#pragma unroll
        for (int r = 0; r < T::kOutRows; ++r) {
          const int i = r * T::kOutTokens + c;
          for (int g = 0; g < kGroups; ++g) acc[t][i] = link<W>(dot[g][i], of[r], sums, g).add_to(acc[t][i]);
        }
      }
    }
  };
  TokenStep::begin(args, first_token, 0, x);
  for (int64_t first = 0, turn = 0; first < blocks; first += TokenStep::kBlocks, turn ^= 1) {
    if (first + TokenStep::kBlocks < blocks) {
      TokenStep::begin(args, first_token, first + TokenStep::kBlocks, x + (turn ^ 1) * TokenStep::kBytes);
      wait_for_batches<1>();
    } else {
      wait_for_batches<0>();
    }
    meet();
    const int count = static_cast<int>(smaller(TokenStep::kBlocks, blocks - first));
#pragma unroll 2
    for (int at = 0; at < count; ++at) add_block(x + turn * TokenStep::kBytes, first + at, at);
    meet();  // before the next copies overwrite this step
  }
  if (p >= panels) return;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      store_sum(args, first_token + t * T::kTokens + T::out_token(i % T::kOutTokens),
                p * kPanelRows + T::out_row(i / T::kOutTokens), acc[t][i]);
    }
  }
}

}  // namespace greta::gpu::GRETA_FORM
