// Matrix route for quantised weights: int8 activations per block of 32, exact integer dot products, f32 sums.
// Per output and block, in ascending k, acc being the bias or 0 at first:
//   idot = sum of (u - offset) * q over the block      exact, in i32
//   acc  = fma(float(idot), d_w * d_x, acc)            d_w * d_x rounded to f32
//   acc  = fma(m_w, s_x, acc)                          types with a minimum; s_x = d_x * sum of q
// The build without a dot product unit (avx2int8, scalarint8) computes the same with plain integer
// instructions.

#include "kernels/cpu/weight_formats.h"

namespace greta::GRETA_ISA {
namespace {

constexpr Roundings kRoundings{Format::q8_block32, Format::f32, Format::f32};

// One row reads each weight once, from memory. Asking this far ahead took Q8_0 49152 x 576 from 28 to 33
// GB/s, where plain reading reaches 36 (Zen 5, one thread; 2 and 8 KiB are within noise).
constexpr int kPrefetchBytes = 4096;

/// kTokens rows of activations against one panel.
template <class W, int kTokens>
inline __attribute__((always_inline)) void run_tile(const std::byte* panel, int64_t blocks,
                                                    const std::byte* x, int64_t x_stride, float* out,
                                                    int64_t out_stride, int lanes, const float* bias) {
  f32x16 acc[kTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) acc[t] = first_sum(bias);
  const std::byte* codes = panel;
  const std::byte* scales = panel + blocks * W::CodesOf::kBytes;
  for (int64_t b = 0; b < blocks; ++b) {
    i32x16 w[8];
    W::CodesOf::load(codes, w);
    if constexpr (kTokens == 1) {
#pragma GCC unroll 8
      for (int j = 0; j < W::CodesOf::kBytes; j += 64) prefetch(codes + kPrefetchBytes + j);
    }
    const f32x16 d = load_f16(scales);
    f32x16 m(0.0f);
    if constexpr (W::kHasMin) m = load_f16(scales + 32);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const ActivationBlock* block = reinterpret_cast<const ActivationBlock*>(x + t * x_stride);
      i32x16 idot = set_i32(0);
      if constexpr (!W::kHasMin) idot = idot - shl<W::kOffsetShift>(broadcast_i32(&block->sum));
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) idot = dot4(idot, w[g], broadcast_i32(block->q + 4 * g));
      acc[t] = fma(to_f32(idot), d * broadcast(&block->d), acc[t]);
      if constexpr (W::kHasMin) acc[t] = fma(m, broadcast(&block->s), acc[t]);
    }
    codes += W::CodesOf::kBytes;
    scales += W::kScaleBytes;
    x += sizeof(ActivationBlock);
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) store_upto(out + t * out_stride, acc[t], lanes);
}

template <class W, int kTokens>
inline __attribute__((always_inline)) void run_rows(const KernelArgs& args, int64_t panel, int64_t& row,
                                                    int64_t end) {
  const PackedWeight& weight = *args.weight;
  for (; row + kTokens <= end; row += kTokens) {
    run_tile<W, kTokens>(weight.bytes.data() + panel * weight.panel_bytes, weight.k / kBlock,
                         args.in[0].raw_row(row), args.in[0].stride, args.out.row(row) + panel * 16,
                         args.out.stride / 4, lanes_left(weight.n, panel * 16), bias_of(args, panel));
  }
  if constexpr (kTokens == 12) {
    run_rows<W, 8>(args, panel, row, end);
  } else if constexpr (kTokens > 1) {
    run_rows<W, kTokens / 2>(args, panel, row, end);
  }
}

// Rows whose activations stay in the second-level cache while all panels pass.
constexpr int64_t kRowsPerPass = 240;

template <class W>
void gemm(const KernelArgs& args, Part part) {
  const Share mine = share(part, args.weight->panels(), args.out.rows, kInt8Tokens);
  for (int64_t begin = mine.row_begin; begin < mine.row_end; begin += kRowsPerPass) {
    const int64_t end = smaller(mine.row_end, begin + kRowsPerPass);
    for (int64_t panel = mine.panel_begin; panel < mine.panel_end; ++panel) {
      int64_t row = begin;
      run_rows<W, kInt8Tokens>(args, panel, row, end);
    }
  }
  scale_sums(args, mine);
}

template <class W>
void gemv(const KernelArgs& args, Part part) {
  const Share mine = share(part, args.weight->panels(), 1, 1);
  for (int64_t panel = mine.panel_begin; panel < mine.panel_end; ++panel) {
    int64_t row = mine.row_begin;
    run_rows<W, 1>(args, panel, row, mine.row_end);
  }
  scale_sums(args, mine);
}

GRETA_MATMUL_KERNELS(q4_0, Q4_0)
GRETA_MATMUL_KERNELS(q4_1, Q4_1)
GRETA_MATMUL_KERNELS(q5_0, Q5_0)
GRETA_MATMUL_KERNELS(q5_1, Q5_1)
GRETA_MATMUL_KERNELS(q8_0, Q8_0)

#define GRETA_ENTRIES(type)                                  \
  GRETA_MATMUL_ENTRY(type, gemm, Route::matrix, kRoundings), \
      GRETA_MATMUL_ENTRY(type, gemv, Route::matrix, kRoundings)

constexpr KernelEntry kEntries[] = {
    GRETA_ENTRIES(q4_0), GRETA_ENTRIES(q4_1), GRETA_ENTRIES(q5_0), GRETA_ENTRIES(q5_1), GRETA_ENTRIES(q8_0),
};
#undef GRETA_ENTRIES

}  // namespace

extern const KernelList kInt8Kernels;
const KernelList kInt8Kernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
