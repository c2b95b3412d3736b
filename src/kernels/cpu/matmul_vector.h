// Vector route: f32 activations, weights dequantised to f32, one chain of FMAs per output in ascending k,
// from the bias or 0.

#include "kernels/cpu/weight_formats.h"

namespace greta::GRETA_ISA {
namespace {

// K is walked in chunks so that a chunk of dequantised weights stays in the first-level cache; partial sums
// wait in `out`, in f32 as in the register.
constexpr int64_t kGemmChunk = 128;
constexpr int64_t kGemvChunk = kBlock;

/// Where a tile of kPanels x kTokens outputs lies.
struct Tile {
  const float* x;  // activations of the first token, at the chunk's first k
  int64_t x_stride;
  float* out;  // first token, first panel
  int64_t out_stride;
  const float* bias;  // of the first panel; or none
  int last_lanes;     // of the last panel
  bool first;         // chunk
};

template <int kPanels, int kTokens>
GRETA_INLINE void run_tile(const float* const (&w)[kPanels], int64_t length, const Tile& tile) {
  f32x16 acc[kPanels][kTokens];
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    const int lanes = p + 1 == kPanels ? tile.last_lanes : 16;
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      acc[p][t] =
          tile.first ? first_sum(tile.bias, p) : load_upto(tile.out + t * tile.out_stride + p * 16, lanes);
    }
  }
  GRETA_UNROLL(2)
  for (int64_t k = 0; k < length; ++k) {
    f32x16 wk[kPanels];
    GRETA_UNROLL(16)
    for (int p = 0; p < kPanels; ++p) wk[p] = load(w[p] + k * 16);
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      const f32x16 xk = broadcast(tile.x + t * tile.x_stride + k);
      GRETA_UNROLL(16)
      for (int p = 0; p < kPanels; ++p) acc[p][t] = fma(wk[p], xk, acc[p][t]);
    }
  }
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    const int lanes = p + 1 == kPanels ? tile.last_lanes : 16;
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) store_upto(tile.out + t * tile.out_stride + p * 16, acc[p][t], lanes);
  }
}

/// `rows` rows against kPanels dequantised panels: full tiles, then smaller ones. The same code for every
/// type: not inlined.
template <int kPanels, int kTokens>
void run_rows(const float* const (&w)[kPanels], int64_t length, Tile& tile, int64_t& rows) {
  for (; rows >= kTokens; rows -= kTokens) {
    run_tile<kPanels, kTokens>(w, length, tile);
    tile.x += kTokens * tile.x_stride;
    tile.out += kTokens * tile.out_stride;
  }
  if constexpr (kTokens == 12) {
    run_rows<kPanels, 8>(w, length, tile, rows);
  } else if constexpr (kTokens > 1) {
    run_rows<kPanels, kTokens / 2>(w, length, tile, rows);
  }
}

/// Panels panel .. panel + kPanels - 1 for the rows of `share`.
template <class W, int kPanels, int kTokens, int64_t kChunk>
void run_panels(const KernelArgs& args, const Share& mine, int64_t panel) {
  alignas(64) float buffer[kPanels][kChunk * 16];
  const PackedWeight& weight = *args.weight;
  const View& x = args.in[0];
  const View& out = args.out;
  for (int64_t k0 = 0; k0 < weight.k; k0 += kChunk) {
    const int64_t k1 = smaller(weight.k, k0 + kChunk);
    const float* w[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      w[p] = W::dequantise(weight.bytes.data() + (panel + p) * weight.panel_bytes, k0, k1, buffer[p]);
    }
    Tile tile{.x = x.row(mine.row_begin) + k0,
              .x_stride = x.stride / 4,
              .out = out.row(mine.row_begin) + panel * 16,
              .out_stride = out.stride / 4,
              .bias = bias_of(args, panel),
              .last_lanes = lanes_left(weight.n, (panel + kPanels - 1) * 16),
              .first = k0 == 0};
    int64_t rows = mine.row_end - mine.row_begin;
    run_rows<kPanels, kTokens>(w, k1 - k0, tile, rows);
  }
}

template <class W>
void gemm(const KernelArgs& args, Part part) {
  Share mine;
  for (Work work(args, part, args.out.rows, kFloatTokens, kFloatPanels); work.next(mine);
       scale_sums(args, mine)) {
    if (mine.row_begin == mine.row_end) continue;
    int64_t panel = mine.panel_begin;
    for (; panel + kFloatPanels <= mine.panel_end; panel += kFloatPanels) {
      run_panels<W, kFloatPanels, kFloatTokens, kGemmChunk>(args, mine, panel);
    }
    if constexpr (kFloatPanels > 1) {
      for (; panel < mine.panel_end; ++panel) run_panels<W, 1, kFloatTokens, kGemmChunk>(args, mine, panel);
    }
  }
}

/// One row: many panels at once, because each chain alone would wait for its FMAs.
template <class W>
void gemv(const KernelArgs& args, Part part) {
  Share mine;
  for (Work work(args, part, 1, 1, kGemvPanels); work.next(mine); scale_sums(args, mine)) {
    if (mine.row_begin == mine.row_end) continue;
    int64_t panel = mine.panel_begin;
    for (; panel + kGemvPanels <= mine.panel_end; panel += kGemvPanels) {
      run_panels<W, kGemvPanels, 1, kGemvChunk>(args, mine, panel);
    }
    if constexpr (kGemvPanels > 1) {
      for (; panel < mine.panel_end; ++panel) run_panels<W, 1, 1, kGemvChunk>(args, mine, panel);
    }
  }
}

#define GRETA_BLOCK_KERNELS(type) GRETA_MATMUL_KERNELS(type, BlockWeight<TensorType::type>)
#define GRETA_ENTRIES(type)                                   \
  GRETA_MATMUL_ENTRY(type, gemm, Route::vector, Roundings{}), \
      GRETA_MATMUL_ENTRY(type, gemv, Route::vector, Roundings{}),

GRETA_MATMUL_KERNELS(f32, F32Weight)
GRETA_MATMUL_KERNELS(f16, F16Weight)
GRETA_MATMUL_KERNELS(bf16, Bf16Weight)
GRETA_BLOCK_TYPES(GRETA_BLOCK_KERNELS)

constexpr KernelEntry kEntries[] = {GRETA_ENTRIES(f32) GRETA_ENTRIES(f16) GRETA_ENTRIES(bf16)
                                        GRETA_BLOCK_TYPES(GRETA_ENTRIES)};
#undef GRETA_ENTRIES
#undef GRETA_BLOCK_KERNELS

}  // namespace

extern const KernelList kVectorKernels;
const KernelList kVectorKernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
