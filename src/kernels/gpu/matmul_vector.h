#pragma once
// Vector route, with the CPU's chain (kernels/cpu/matmul_vector.h): f32 activations, weights decoded to f32,
// one chain of FMAs per output in ascending k, from the bias or 0. A team has a panel, lane = weight row.

#include "kernels/gpu/matmul_int8.h"

namespace greta::gpu::GRETA_FORM {

template <TensorType kT, int kTokens>
GRETA_DEVICE void vector_product(const Args& args) {
  const int64_t p = group_x() * (kVectorThreads / kTeam) + thread_index() / kTeam;
  if (p * kPanelRows >= args.weight.n) return;
  const std::byte* panel = args.weight.panels + p * args.weight.panel_bytes;
  const int64_t first_token = int64_t{group_y()} * kTokens;
  const int row = lane_of_team();
  const float* x[kTokens];
  float acc[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    x[t] = args.in[0].row(smaller(first_token + t, args.out.rows - 1));  // beyond the last row: the last
    acc[t] = first_sum(args, p * kPanelRows + row);
  }
  const auto add = [&](int64_t k, float w) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) acc[t] = __builtin_fmaf(w, x[t][k], acc[t]);
  };
  if constexpr (block_code(kT).bits == 0) {
#pragma unroll 8
    for (int64_t k = 0; k < args.weight.k; ++k) add(k, PlainWeight<kT>::value(panel, k, row));
  } else {
    using W = BlockWeight<kT>;
    for (int64_t b = 0; b < args.weight.k / kBlock; ++b) {
      const auto planes = W::planes(panel, b, row);
      const auto of = W::scales(panel, b, row);
#pragma unroll
      for (int g = 0; g < 8; ++g) {
        const int word = W::word(g, planes), group = g * W::kGroups / 8;
#pragma unroll
        for (int byte = 0; byte < 4; ++byte)
          add(b * kBlock + 4 * g + byte, W::value(word, byte, of.d[group], of.m[group]));
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) store_sum(args, first_token + t, p * kPanelRows + row, acc[t]);
}

}  // namespace greta::gpu::GRETA_FORM
