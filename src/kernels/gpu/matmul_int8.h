#pragma once
// Matrix route for quantised weights, with the CPU's chain (kernels/cpu/matmul_int8.h). Per output, from acc
// = the bias or 0, in ascending k, for every group of scales:
//   acc = fma(float(idot), d_w * d_x, acc)     idot the exact integer sum of (u - offset) q
//   acc = fma(m_w, s_x, acc)                   of types with a minimum
// Integer sums need no order: a GEMM's (gemm_int8.h) come from the matrix unit, a GEMV's from all lanes.
// Only the chain of FMAs has one.

#include "kernels/gpu/block_weight.h"
#include "kernels/gpu/gemv.h"

namespace greta::gpu::GRETA_FORM {

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

/// A unit of a panel in shared memory, for gemv(): 8 blocks, and the activations of the same k behind them. A
/// team has every kTeams-th block; where it finds them is the same in every unit. Lane = weight row.
template <TensorType kT>
struct Unit {
  using W = BlockWeight<kT>;
  using Link = gpu::GRETA_FORM::Link<W::kHasMin>;
  static constexpr BlockCode kCode = W::kCode;
  static constexpr GemvShape kShape{kT, kWave};
  static constexpr int kTeams = kWave / kTeam, kOwn = kUnitBlocks / kTeams;  // blocks of a team
  static constexpr int kLinks = kUnitBlocks * W::kGroups;                    // of a weight row
  static constexpr int kMade = kOwn * W::kGroups;
  static constexpr bool kSuper = kCode.run() > 1;
  static constexpr int kCodesAt = static_cast<int>(kCode.scale_bytes());
  static constexpr int kCodes = kSuper ? static_cast<int>(kCode.bytes()) : kShape.block_bytes;  // apart
  /// Odd teams read every two rows of planes in the other order where the wave's teams would meet in a bank.
  static constexpr bool kSwaps = kCodes % 128 == 0 && kCode.bits % 2 == 0;
  static_assert(sizeof(Link) == kShape.link_bytes && kCode.run() <= kUnitBlocks);

  int team, row;
  int even,
      odd;  // of the planes of the team's first block: rows 0, 2, ... and 1, 3, ... of the lane's weight row

  GRETA_DEVICE Unit() : team(lane_of_wave() / kTeam), row(lane_of_team()) {
    const int swap = kSwaps ? team % 2 * 64 : 0;
    even = kCodesAt + team * kCodes + 4 * row + swap;
    odd = even - 2 * swap;
  }

  GRETA_DEVICE const ActivationBlock& x(const std::byte* unit, int i) const {
    return reinterpret_cast<const ActivationBlock*>(unit + kShape.x_at())[i * kTeams + team];
  }

  GRETA_DEVICE void planes(const std::byte* unit, int i, uint32_t (&to)[kCode.bits]) const {
    const std::byte* from = unit + i * kTeams * kCodes;
#pragma unroll
    for (int r = 0; r < kCode.bits; ++r) to[r] = load<uint32_t>(from + (r % 2 == 0 ? even : odd) + 64 * r);
    if constexpr (kSwaps) {
#pragma unroll
      for (int r = 0; r < kCode.bits; r += 2) {
        const uint32_t first = to[r], second = to[r + 1];
        to[r] = team % 2 == 0 ? first : second;
        to[r + 1] = team % 2 == 0 ? second : first;
      }
    }
  }

  /// d and m of all blocks of a super-block; other types have them block by block.
  GRETA_DEVICE StoredScales head(const std::byte* unit, int block = 0) const {
    const std::byte* at = unit + block * kShape.block_bytes + 2 * row;
    StoredScales stored{};
    stored.d = load<uint16_t>(at);
    if constexpr (W::kHasMin) stored.m = load<uint16_t>(at + 32);
    return stored;
  }

  GRETA_DEVICE Scales<W::kGroups> scales(const std::byte* unit, int i, const StoredScales& of_all) const {
    const int block = i * kTeams + team;
    if constexpr (!kSuper) return W::decode(head(unit, block));
    constexpr int kSmall = static_cast<int>(kCode.small_bytes());
    StoredScales stored = of_all;
    const std::byte* small = unit + kCode.head_bytes() + block * kSmall + row;
    stored.small[0] = load<uint8_t>(small);
    if constexpr (kSmall > kTeam) stored.small[1] = load<uint8_t>(small + kTeam);
    return W::decode(stored);
  }

  /// The integer sums of a block: of codes less their offset, times the activations' codes.
  static GRETA_DEVICE void dots(const uint32_t (&planes)[kCode.bits], const ActivationBlock& x,
                                const BlockSums<W::kGroups>& sums, int (&dot)[W::kGroups]) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&x);
    const Quad quads[2] = {load<Quad>(bytes), load<Quad>(bytes + 16)};
    const auto q = [&](int g) { return static_cast<int>(quads[g / 4].words[g % 4]); };
    if constexpr (kCode.bits == 4 && W::kGroups == 1) {
      int high = 0;  // 16 times their sum
      dot[0] = 0;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        dot[0] = dot4(static_cast<int>(planes[r] & 0x0f0f0f0fu), q(r), dot[0]);
        high = dot4_unsigned(planes[r] & 0xf0f0f0f0u, q(r + 4), high);
      }
      dot[0] += high >> 4;
    } else if constexpr (kCode.bits == 8) {
      dot[0] = -128 * sums.sum[0];
#pragma unroll
      for (int g = 0; g < 8; ++g) dot[0] = dot4_unsigned(planes[g], q(g), dot[0]);
    } else {
#pragma unroll
      for (int g = 0; g < W::kGroups; ++g) dot[g] = 0;
#pragma unroll
      for (int g = 0; g < 8; ++g) {
        int& sum = dot[g * W::kGroups / 8];
        sum = dot4(W::word(g, [&](int r) { return planes[r]; }), q(g), sum);
      }
    }
  }

  /// The links of the team's block i.
  GRETA_DEVICE void make_links(const std::byte* unit, int i, const StoredScales& of_all, Link* to) const {
    uint32_t codes[kCode.bits];
    planes(unit, i, codes);
    const BlockSums<W::kGroups> sums(x(unit, i));
    int dot[W::kGroups];
    dots(codes, x(unit, i), sums, dot);
    const Scales<W::kGroups> of = scales(unit, i, of_all);
#pragma unroll
    for (int g = 0; g < W::kGroups; ++g) to[g] = link<W>(dot[g], of, sums, g);
  }

  /// Beyond the last block, of what is there: nobody takes those links.
  GRETA_DEVICE void make(const std::byte* unit, int64_t, Link (&made)[kMade]) const {
    StoredScales of_all{};
    if constexpr (kSuper) of_all = head(unit);
#pragma unroll
    for (int i = 0; i < kOwn; ++i) make_links(unit, i, of_all, made + i * W::kGroups);
  }
  GRETA_DEVICE void put(const Link (&made)[kMade], Link* slot) const {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
#pragma unroll
      for (int g = 0; g < W::kGroups; ++g)
        slot[((i * kTeams + team) * W::kGroups + g) * kTeam + row] = made[i * W::kGroups + g];
    }
  }
};

}  // namespace greta::gpu::GRETA_FORM
