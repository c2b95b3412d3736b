// Matrix route for 16-bit weights: bf16 activations, pairs of k through the bf16 dot product unit, f32 sums.
// Per output, in ascending pairs of k from acc = the bias or 0, with dot2 as vdpbf16ps computes it (measured
// on Zen 5; lanes_avx512.h says how):
//   bf16 weights: acc = dot2(acc, w, x)
//   f16 weights:  acc = dot2(acc, high, x)      w = high + low exactly, high = w cut to bf16
//                 acc = dot2(acc, low, x)
// The builds without the unit (avx2bf16, scalarbf16) compute the same bits with FMAs.

#include "kernels/cpu/weight_formats.h"

namespace greta::GRETA_ISA {
namespace {

constexpr Roundings kRoundings{.activation = Format::bf16};

/// The bf16 parts of a pair of k: kParts vectors, each to be multiplied by the same activations.
struct Bf16Pairs {
  static constexpr int kParts = 1;
  static GRETA_INLINE void load(const std::byte* p, i32x16 (&w)[1]) { w[0] = load_raw(p); }
};

struct F16Pairs {
  static constexpr int kParts = 2;
  static GRETA_INLINE void load(const std::byte* p, i32x16 (&w)[2]) {
    const i32x16 top = set_i32(~0xffff);
    const f32x16 even = load_f16(p), odd = load_f16(p + 32);
    const i32x16 even_high = bits(even) & top, odd_high = bits(odd) & top;
    const f32x16 even_low = even - from_bits(even_high), odd_low = odd - from_bits(odd_high);
    w[0] = shr<16>(even_high) | odd_high;
    w[1] = shr<16>(bits(even_low)) | bits(odd_low);
  }
};

template <class W, int kPanels, int kTokens>
GRETA_INLINE void run_tile(const std::byte* const (&panels)[kPanels], int64_t pairs, const std::byte* x,
                           int64_t x_stride, float* out, int64_t out_stride, int last_lanes,
                           const float* bias) {
  f32x16 acc[kPanels][kTokens];
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) acc[p][t] = first_sum(bias, p);
  }
  for (int64_t i = 0; i < pairs; ++i) {
    i32x16 w[kPanels][W::kParts];
    GRETA_UNROLL(16)
    for (int p = 0; p < kPanels; ++p) W::load(panels[p] + i * 64, w[p]);
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      const i32x16 xi = broadcast_i32(x + t * x_stride + i * 4);
      GRETA_UNROLL(16)
      for (int p = 0; p < kPanels; ++p) {
        GRETA_UNROLL(2)
        for (int part = 0; part < W::kParts; ++part) acc[p][t] = dot2_bf16(acc[p][t], w[p][part], xi);
      }
    }
  }
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    const int lanes = p + 1 == kPanels ? last_lanes : 16;
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) store_upto(out + t * out_stride + p * 16, acc[p][t], lanes);
  }
}

template <class W, int kPanels, int kTokens>
GRETA_INLINE void run_rows(const KernelArgs& args, const std::byte* const (&panels)[kPanels], int64_t panel,
                           int64_t& row, int64_t end) {
  const PackedWeight& weight = *args.weight;
  for (; row + kTokens <= end; row += kTokens) {
    run_tile<W, kPanels, kTokens>(panels, (weight.k + 1) / 2, args.in[0].raw_row(row), args.in[0].stride,
                                  args.out.row(row) + panel * 16, args.out.stride / 4,
                                  lanes_left(weight.n, (panel + kPanels - 1) * 16), bias_of(args, panel));
  }
  if constexpr (kTokens == 12) {
    run_rows<W, kPanels, 8>(args, panels, panel, row, end);
  } else if constexpr (kTokens > 1) {
    run_rows<W, kPanels, kTokens / 2>(args, panels, panel, row, end);
  }
}

// Rows whose activations stay in the second-level cache while all panels pass.
constexpr int64_t kRowsPerPass = 120;

template <class W, int kPanels, int kTokens>
void run_panels(const KernelArgs& args, int64_t& panel, const Share& mine, int64_t begin, int64_t end) {
  const PackedWeight& weight = *args.weight;
  for (; panel + kPanels <= mine.panel_end; panel += kPanels) {
    const std::byte* panels[kPanels];
    for (int p = 0; p < kPanels; ++p) panels[p] = weight.bytes.data() + (panel + p) * weight.panel_bytes;
    int64_t row = begin;
    run_rows<W, kPanels, kTokens>(args, panels, panel, row, end);
  }
}

template <class W>
void gemm(const KernelArgs& args, Part part) {
  Share mine;
  for (Work work(args, part, args.out.rows, kFloatTokens, kFloatPanels); work.next(mine);
       scale_sums(args, mine)) {
    for (int64_t begin = mine.row_begin; begin < mine.row_end; begin += kRowsPerPass) {
      const int64_t end = smaller(mine.row_end, begin + kRowsPerPass);
      int64_t panel = mine.panel_begin;
      run_panels<W, kFloatPanels, kFloatTokens>(args, panel, mine, begin, end);
      if constexpr (kFloatPanels > 1) run_panels<W, 1, kFloatTokens>(args, panel, mine, begin, end);
    }
  }
}

/// One row: several panels at once, because each chain alone would wait for its dot products.
template <class W>
void gemv(const KernelArgs& args, Part part) {
  Share mine;
  for (Work work(args, part, 1, 1, kGemvPanels); work.next(mine); scale_sums(args, mine)) {
    if (mine.row_begin == mine.row_end) continue;
    int64_t panel = mine.panel_begin;
    run_panels<W, kGemvPanels, 1>(args, panel, mine, 0, 1);
    if constexpr (kGemvPanels > 1) run_panels<W, 1, 1>(args, panel, mine, 0, 1);
  }
}

GRETA_MATMUL_KERNELS(bf16, Bf16Pairs)
GRETA_MATMUL_KERNELS(f16, F16Pairs)

constexpr KernelEntry kEntries[] = {
    GRETA_MATMUL_ENTRY(bf16, gemm, Route::matrix, kRoundings),
    GRETA_MATMUL_ENTRY(bf16, gemv, Route::matrix, kRoundings),
    GRETA_MATMUL_ENTRY(f16, gemm, Route::matrix, kRoundings),
    GRETA_MATMUL_ENTRY(f16, gemv, Route::matrix, kRoundings),
};

}  // namespace

extern const KernelList kBf16Kernels;
const KernelList kBf16Kernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
