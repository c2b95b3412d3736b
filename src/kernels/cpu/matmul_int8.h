// Matrix route for quantised weights: int8 activations per block of 32, exact integer dot products, f32 sums.
// Per output, from acc = the bias or 0, in ascending k, for every group of scales (a block of 32 k or a half
// of one):
//   idot = sum of (u - offset) * q over the group      exact, in i32 and in f32
//   acc  = fma(float(idot), d_w * d_x, acc)            d_w * d_x rounded to f32
//   acc  = fma(m_w, s_x, acc)                          types with a minimum; s_x = d_x * sum of q in the
//   group
// The build without a dot product unit (avx2int8, scalarint8) computes the same with plain integer
// instructions.

#include "kernels/cpu/weight_formats.h"

namespace greta::GRETA_ISA {
namespace {

constexpr Roundings kRoundings{Format::q8_block32, Format::f32, Format::f32};

// One row reads each weight once, from memory. Asking this far ahead took Q8_0 49152 x 576 from 28 to 33
// GB/s, where plain reading reaches 36 (Zen 5, one thread; 2 and 8 KiB are within noise).
constexpr int kPrefetchBytes = 4096;

/// Adds a block to an output of 16 lanes; w as BlockWeight::load_codes has it.
template <int kGroups, bool kHasMin, int kLogOffset>
inline __attribute__((always_inline)) void add_block(const i32x16 (&w)[8], const f32x16* d, const f32x16* m,
                                                     const ActivationBlock* x, f32x16& acc) {
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    i32x16 minus_sum = set_i32(0);
    if constexpr (kGroups == 1) {
      if constexpr (!kHasMin) minus_sum = minus_sum - broadcast_i32(&x->sum);
    } else {
      minus_sum = g == 0 ? minus_sum - broadcast_i32(&x->sum_low)
                         : broadcast_i32(&x->sum_low) - broadcast_i32(&x->sum);
    }
    i32x16 idot = kHasMin ? set_i32(0) : shl<kLogOffset>(minus_sum);
#pragma GCC unroll 8
    for (int j = 0; j < 8 / kGroups; ++j) {
      const int i = g * 8 / kGroups + j;
      idot = dot4(idot, w[i], broadcast_i32(x->q + 4 * i));
    }
    acc = fma(to_f32(idot), d[g] * broadcast(&x->d), acc);
    if constexpr (kHasMin && kGroups == 1) acc = fma(m[g], broadcast(&x->s), acc);
    if constexpr (kHasMin && kGroups > 1) {
      acc = fma(m[g], broadcast(&x->d) * to_f32(set_i32(0) - minus_sum), acc);
    }
  }
}

// Blocks of a panel that are unpacked at once, for all rows of a pass: 16 KiB of codes and at most 8 KiB of
// scales, which stay in the first-level cache beside a tile's activations.
constexpr int64_t kRunBlocks = 32;
constexpr int kRunLogOffset = 7;  // codes are moved to one offset, so that types share their tiles

template <int kGroups>
struct UnpackedRun {
  alignas(64) std::byte codes[kRunBlocks][512];
  float d[kRunBlocks][kGroups][16], m[kRunBlocks][kGroups][16];
};

/// Where a tile of kTokens outputs of one panel lies.
struct Tile {
  const std::byte* x;  // activations of the first token, at the run's first block
  int64_t x_stride;
  float* out;
  int64_t out_stride;
  int lanes;
  const float* bias;  // of the panel; or none
  bool first;         // run
};

template <int kGroups, bool kHasMin, int kTokens>
inline __attribute__((always_inline)) void run_tile(const UnpackedRun<kGroups>& run, int64_t blocks,
                                                    const Tile& tile) {
  f32x16 acc[kTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    acc[t] = tile.first ? first_sum(tile.bias) : load_upto(tile.out + t * tile.out_stride, tile.lanes);
  }
  const std::byte* x = tile.x;
  for (int64_t b = 0; b < blocks; ++b, x += sizeof(ActivationBlock)) {
    i32x16 w[8];
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) w[g] = load_raw(run.codes[b] + 64 * g);
    f32x16 d[kGroups], m[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      d[g] = load(run.d[b][g]);
      if constexpr (kHasMin) m[g] = load(run.m[b][g]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const ActivationBlock* block = reinterpret_cast<const ActivationBlock*>(x + t * tile.x_stride);
      add_block<kGroups, kHasMin, kRunLogOffset>(w, d, m, block, acc[t]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) store_upto(tile.out + t * tile.out_stride, acc[t], tile.lanes);
}

/// `rows` rows against a run: full tiles, then halves of the rest. The same code for many types: not inlined.
template <int kGroups, bool kHasMin, int kTokens>
void run_rows(const UnpackedRun<kGroups>& run, int64_t blocks, Tile& tile, int64_t rows) {
  for (; rows >= kTokens; rows -= kTokens) {
    run_tile<kGroups, kHasMin, kTokens>(run, blocks, tile);
    tile.x += kTokens * tile.x_stride;
    tile.out += kTokens * tile.out_stride;
  }
  if constexpr (kTokens == 12) {
    run_rows<kGroups, kHasMin, 8>(run, blocks, tile, rows);
  } else if constexpr (kTokens > 1) {
    run_rows<kGroups, kHasMin, kTokens / 2>(run, blocks, tile, rows);
  }
}

template <class W>
inline __attribute__((always_inline)) void unpack(const std::byte* panel, int64_t all_blocks, int64_t first,
                                                  int64_t blocks, UnpackedRun<W::kCode.groups>& run) {
  constexpr int kMove = W::kCode.has_min ? 0 : (1 << kRunLogOffset) - W::kCode.offset();
  const std::byte* codes = panel + first * W::kCode.bytes();
  const std::byte* scales = panel + all_blocks * W::kCode.bytes();
  for (int64_t b = 0; b < blocks; ++b, codes += W::kCode.bytes()) {
    i32x16 w[8];
    W::load_codes(codes, w);
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) store_raw(run.codes[b] + 64 * g, w[g] + set_i32(kMove * 0x01010101));
    typename W::Scales of;
    W::load_scales(scales, first + b, of);
#pragma GCC unroll 2
    for (int g = 0; g < W::kCode.groups; ++g) {
      store(run.d[b][g], of.d[g]);
      if constexpr (W::kCode.has_min) store(run.m[b][g], of.m[g]);
    }
  }
}

// Rows whose activations stay in the second-level cache while all panels pass.
constexpr int64_t kRowsPerPass = 240;

template <class W>
void gemm(const KernelArgs& args, Part part) {
  const PackedWeight& weight = *args.weight;
  const View& x = args.in[0];
  const Share mine = share(part, weight.panels(), args.out.rows, kInt8Tokens);
  const int64_t blocks = weight.k / kBlock;
  UnpackedRun<W::kCode.groups> run;
  for (int64_t begin = mine.row_begin; begin < mine.row_end; begin += kRowsPerPass) {
    const int64_t rows = smaller(mine.row_end - begin, kRowsPerPass);
    for (int64_t panel = mine.panel_begin; panel < mine.panel_end; ++panel) {
      for (int64_t b = 0; b < blocks; b += kRunBlocks) {
        const int64_t count = smaller(blocks - b, kRunBlocks);
        unpack<W>(weight.bytes.data() + panel * weight.panel_bytes, blocks, b, count, run);
        Tile tile{x.raw_row(begin) + b * static_cast<int64_t>(sizeof(ActivationBlock)),
                  x.stride,
                  args.out.row(begin) + panel * 16,
                  args.out.stride / 4,
                  lanes_left(weight.n, panel * 16),
                  bias_of(args, panel),
                  b == 0};
        run_rows<W::kCode.groups, W::kCode.has_min, kInt8Tokens>(run, count, tile, rows);
      }
    }
  }
  scale_sums(args, mine);
}

template <class W>
void gemv(const KernelArgs& args, Part part) {
  const PackedWeight& weight = *args.weight;
  const Share mine = share(part, weight.panels(), 1, 1);
  if (mine.row_begin == mine.row_end) return;
  const int64_t blocks = weight.k / kBlock;
  for (int64_t panel = mine.panel_begin; panel < mine.panel_end; ++panel) {
    const std::byte* codes = weight.bytes.data() + panel * weight.panel_bytes;
    const std::byte* scales = codes + blocks * W::kCode.bytes();
    const ActivationBlock* x = reinterpret_cast<const ActivationBlock*>(args.in[0].raw_row(0));
    f32x16 acc = first_sum(bias_of(args, panel));
    for (int64_t b = 0; b < blocks; ++b, codes += W::kCode.bytes()) {
      i32x16 w[8];
      W::load_codes(codes, w);
      for (int j = 0; j < W::kCode.bytes(); j += 64) prefetch(codes + kPrefetchBytes + j);
      typename W::Scales of;
      W::load_scales(scales, b, of);
      add_block<W::kCode.groups, W::kCode.has_min, W::kCode.log_offset>(w, of.d, of.m, x + b, acc);
    }
    store_upto(args.out.row(0) + panel * 16, acc, lanes_left(weight.n, panel * 16));
  }
  scale_sums(args, mine);
}

#define GRETA_BLOCK_KERNELS(type) GRETA_MATMUL_KERNELS(type, BlockWeight<TensorType::type>)
#define GRETA_ENTRIES(type)                                  \
  GRETA_MATMUL_ENTRY(type, gemm, Route::matrix, kRoundings), \
      GRETA_MATMUL_ENTRY(type, gemv, Route::matrix, kRoundings),

GRETA_BLOCK_TYPES(GRETA_BLOCK_KERNELS)

constexpr KernelEntry kEntries[] = {GRETA_BLOCK_TYPES(GRETA_ENTRIES)};
#undef GRETA_ENTRIES
#undef GRETA_BLOCK_KERNELS

}  // namespace

extern const KernelList kInt8Kernels;
const KernelList kInt8Kernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
