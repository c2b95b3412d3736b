#pragma once
// Matrix route for quantised weights, with the CPU's chain (kernels/cpu/matmul_int8.h). Per output, from acc = the
// bias or 0, in ascending k, for every group of scales:
//   acc = fma(float(idot), d_w * d_x, acc)     idot the exact integer sum of (u - offset) q
//   acc = fma(m_w, s_x, acc)                   of types with a minimum
// Integer sums need no order: a GEMM's come from the matrix unit, a GEMV's from all lanes at once. Only the chain
// of FMAs has one.

#include "kernels/gpu/block_weight.h"
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

/// One row of activations against a panel: teams make the links of blocks, lane = weight row, while one wave more
/// chains those of the blocks before.
template <TensorType kT>
GRETA_DEVICE void gemv(const Args& args) {
  using W = BlockWeight<kT>;
  constexpr int kGroups = W::kGroups, kTeams = kDotThreads / kTeam, kStep = 2 * kTeams / kGroups;
  GRETA_SHARED(Link<W::kHasMin>, links, 2 * kStep * kGroups * kTeam);
  const std::byte* panel = args.weight.panels + group_x() * args.weight.panel_bytes;
  const ActivationBlock* x = args.in[0].row<ActivationBlock>(0);
  const int64_t blocks = args.weight.k / kBlock;
  const int team = thread_index() / kTeam, row = lane_of_team();
  const bool chains = thread_index() >= kDotThreads;
  float acc = first_sum(args, group_x() * kPanelRows + row);
  // One round more: the chain follows a step behind.
  for (int64_t begin = 0, turn = 0; begin < blocks + kStep; begin += kStep, turn ^= 1) {
    if (!chains) {
      Link<W::kHasMin>* to = links + turn * kStep * kGroups * kTeam;
#pragma unroll
      for (int i = 0; i < kStep / kTeams; ++i) {
        const int64_t at = i * kTeams + team, b = begin + at;
        if (b >= blocks) continue;
        uint32_t planes[W::kCode.bits];
        const auto from = W::planes(panel, b, row);
#pragma unroll
        for (int r = 0; r < W::kCode.bits; ++r) planes[r] = from(r);
        const auto of = W::scales(panel, b, row);
        const BlockSums<kGroups> sums(x[b]);
        int dot[kGroups] = {};
#pragma unroll
        for (int g = 0; g < 8; ++g) {
          const int word = W::word(g, [&](int r) { return planes[r]; });
          dot[g * kGroups / 8] =
              dot4(word, load<int>(reinterpret_cast<const std::byte*>(x[b].q + 4 * g)), dot[g * kGroups / 8]);
        }
        for (int g = 0; g < kGroups; ++g) to[(at * kGroups + g) * kTeam + row] = link<W>(dot[g], of, sums, g);
      }
    } else if (begin > 0 && thread_index() < kDotThreads + kTeam) {
      const Link<W::kHasMin>* from = links + (turn ^ 1) * kStep * kGroups * kTeam;
      const int64_t count = smaller(kStep, blocks - (begin - kStep)) * kGroups;
#pragma unroll 8
      for (int64_t i = 0; i < count; ++i) acc = from[i * kTeam + row].add_to(acc);
    }
    meet();
  }
  if (chains && thread_index() < kDotThreads + kTeam) store_sum(args, 0, group_x() * kPanelRows + row, acc);
}

/// A wave has a panel and kTileTokens tiles of the matrix unit; after each block, its outputs take their links.
template <TensorType kT>
GRETA_DEVICE void gemm(const Args& args) {
  using W = BlockWeight<kT>;
  using T = IntTile;
  constexpr int kGroups = W::kGroups, kOutputs = T::kOutRows * T::kOutTokens;
  const int64_t panels = (args.weight.n + kPanelRows - 1) / kPanelRows;
  const int64_t p = group_x() * kTileWaves + thread_index() / kWave;
  // A wave without a panel goes over the last one, and stores nothing: lanes meet in the matrix unit.
  const std::byte* panel = args.weight.panels + smaller(p, panels - 1) * args.weight.panel_bytes;
  const int64_t first_token = int64_t{group_y()} * T::kTokens * kTileTokens;
  // Of rows beyond the last: the last one's.
  const auto block_of = [&](int64_t token, int64_t b) -> const ActivationBlock& {
    return args.in[0].row<ActivationBlock>(smaller(first_token + token, args.out.rows - 1))[b];
  };
  float acc[kTileTokens][kOutputs];
  for (int t = 0; t < kTileTokens; ++t) {
    for (int i = 0; i < kOutputs; ++i)
      acc[t][i] = first_sum(args, smaller(p, panels - 1) * kPanelRows + T::out_row(i / T::kOutTokens));
  }
  for (int64_t b = 0; b < args.weight.k / kBlock; ++b) {
    int low[T::kRows], high[T::kRows];
    for (int i = 0; i < T::kRows; ++i) {
      const auto planes = W::planes(panel, b, T::row(i));
      low[i] = W::word(T::word(), planes);
      high[i] = W::word(T::word() + 4, planes);
    }
    Scales<kGroups> of[T::kOutRows];
    for (int i = 0; i < T::kOutRows; ++i) of[i] = W::scales(panel, b, T::out_row(i));
#pragma unroll
    for (int t = 0; t < kTileTokens; ++t) {
      const auto* q = reinterpret_cast<const std::byte*>(block_of(t * T::kTokens + T::token(), b).q);
      const int x_low = load<int>(q + 4 * T::word()), x_high = load<int>(q + 16 + 4 * T::word());
      int dot[kGroups][4] = {};
      if constexpr (kGroups == 1) {
        multiply_block(dot[0], low, high, x_low, x_high);
      } else {
        multiply_half(dot[0], low, x_low);
        multiply_half(dot[1], high, x_high);
      }
      for (int c = 0; c < T::kOutTokens; ++c) {
        const BlockSums<kGroups> sums(block_of(t * T::kTokens + T::out_token(c), b));
        for (int r = 0; r < T::kOutRows; ++r) {
          float& sum = acc[t][r * T::kOutTokens + c];
          for (int g = 0; g < kGroups; ++g)
            sum = link<W>(dot[g][r * T::kOutTokens + c], of[r], sums, g).add_to(sum);
        }
      }
    }
  }
  if (p >= panels) return;
  for (int t = 0; t < kTileTokens; ++t) {
    for (int i = 0; i < kOutputs; ++i) {
      store_sum(args, first_token + t * T::kTokens + T::out_token(i % T::kOutTokens),
                p * kPanelRows + T::out_row(i / T::kOutTokens), acc[t][i]);
    }
  }
}

}  // namespace greta::gpu::GRETA_FORM
