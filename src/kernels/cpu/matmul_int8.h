// Matrix route for quantised weights: int8 activations per block of 32, exact integer dot products, f32 sums.
// Per output, from acc = the bias or 0, in ascending k, for every group of scales (32 k, or 16 of a block):
//   idot = sum over the group of (u - offset) * q      exact, in i32 and in f32
//   acc  = fma(float(idot), d_w * d_x, acc)            d_w * d_x rounded to f32
//   acc  = fma(m_w, s_x, acc)                          of types with a minimum; s_x = d_x * sum of the
//                                                      group's q, rounded to f32
// The builds without a dot product unit (avx2int8, scalarint8) compute the same with plain integers.

#include "kernels/cpu/weight_formats.h"

namespace greta::GRETA_ISA {
namespace {

constexpr Roundings kRoundings{.activation = Format::q8_block32};

// A row reads each weight once, in one stream, which is asked for this far ahead: every line, into the
// first-level cache. Tried for decode from memory: into the second level, 5 to 10 % slower;
// every other line, 5 to 45 % slower.
constexpr int64_t kAheadBytes = 8192;

/// The sum of a group's q, in all lanes.
template <int kGroups>
GRETA_INLINE i32x16 sum_of(const ActivationBlock* x, int g) {
  if constexpr (kGroups == 1) return broadcast_i32(&x->sum);
  return g == 0 ? broadcast_i32(&x->sum_low) : broadcast_i32(&x->sum) - broadcast_i32(&x->sum_low);
}

/// Where an integer dot product of codes starts, so that it ends as that of (u - offset).
template <int kGroups, bool kHasMin, int kLogOffset>
GRETA_INLINE i32x16 start(const ActivationBlock* x, int g) {
  if constexpr (kHasMin) return set_i32(0);
  return shl<kLogOffset>(set_i32(0) - sum_of<kGroups>(x, g));
}

/// The next links of an output's sum. One chain in order is the contract; several would be at most 0.5 %
/// faster in a GEMM and 3.9 % in a GEMV (bench/kernels/invariance_tax.cpp).
template <int kGroups, bool kHasMin>
GRETA_INLINE f32x16 add_group(f32x16 acc, i32x16 idot, f32x16 d, f32x16 m, const ActivationBlock* x, int g) {
  acc = fma(to_f32(idot), d * broadcast(&x->d), acc);
  if constexpr (kHasMin && kGroups == 1) acc = fma(m, broadcast(&x->s), acc);
  if constexpr (kHasMin && kGroups > 1) {
    acc = fma(m, broadcast(&x->d) * to_f32(sum_of<kGroups>(x, g)), acc);
  }
  return acc;
}

// Blocks of a panel that are unpacked at once, for all rows of a pass: with two panels 16 KiB of codes and at
// most 8 KiB of scales, which stay in the first-level cache beside a tile's activations.
constexpr int64_t kRunBlocks = 16;
constexpr int kRunLogOffset = 7;  // codes are moved to one offset, so that types share their tiles

template <int kGroups>
struct UnpackedRun {
  alignas(64) std::byte codes[kRunBlocks][512];
  float d[kRunBlocks][kGroups][16], m[kRunBlocks][kGroups][16];
};

/// Where a tile of kPanels x kTokens outputs lies.
struct Tile {
  const std::byte* x;  // activations of the first token, at the run's first block
  int64_t x_stride;
  float* out;  // first token, first panel
  int64_t out_stride;
  int last_lanes;     // of the last panel
  const float* bias;  // of the first panel; or none
  bool first;         // run
};

/// Group g of scales of a block: all integer sums of the tile stay in registers, and each activation that is
/// loaded serves all panels.
template <int kGroups, bool kHasMin, int kPanels, int kTokens>
GRETA_INLINE void add_block(const UnpackedRun<kGroups>* run, int64_t b, int g, const std::byte* x,
                            int64_t x_stride, f32x16 (&acc)[kPanels][kTokens]) {
  i32x16 idot[kPanels][kTokens];
  const auto token = [&](int t) __attribute__((always_inline)) {
    return reinterpret_cast<const ActivationBlock*>(x + t * x_stride);
  };
  GRETA_UNROLL(16)
  for (int t = 0; t < kTokens; ++t) {
    idot[0][t] = start<kGroups, kHasMin, kRunLogOffset>(token(t), g);
    if constexpr (kPanels > 1) idot[1][t] = idot[0][t];
  }
  GRETA_UNROLL(8)
  for (int j = 0; j < 8 / kGroups; ++j) {
    const int i = g * 8 / kGroups + j;
    const i32x16 w = load_raw(run[0].codes[b] + 64 * i), w1 = load_raw(run[kPanels - 1].codes[b] + 64 * i);
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      const i32x16 q = broadcast_i32(token(t)->q + 4 * i);
      idot[0][t] = dot4(idot[0][t], w, q);
      if constexpr (kPanels > 1) idot[1][t] = dot4(idot[1][t], w1, q);
    }
  }
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    const f32x16 d = load(run[p].d[b][g]);
    f32x16 m(0.0f);
    if constexpr (kHasMin) m = load(run[p].m[b][g]);
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      acc[p][t] = add_group<kGroups, kHasMin>(acc[p][t], idot[p][t], d, m, token(t), g);
    }
  }
}

template <int kGroups, bool kHasMin, int kPanels, int kTokens>
GRETA_INLINE void run_tile(const UnpackedRun<kGroups>* run, int64_t blocks, const Tile& tile) {
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
  const std::byte* x = tile.x;
  for (int64_t b = 0; b < blocks; ++b, x += sizeof(ActivationBlock)) {
    GRETA_UNROLL(2)
    for (int g = 0; g < kGroups; ++g) {
      add_block<kGroups, kHasMin, kPanels, kTokens>(run, b, g, x, tile.x_stride, acc);
    }
  }
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    const int lanes = p + 1 == kPanels ? tile.last_lanes : 16;
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) store_upto(tile.out + t * tile.out_stride + p * 16, acc[p][t], lanes);
  }
}

/// `rows` rows against a run: full tiles, then smaller ones. The same code for many types: not inlined.
template <int kGroups, bool kHasMin, int kPanels, int kTokens>
void run_rows(const UnpackedRun<kGroups>* run, int64_t blocks, Tile& tile, int64_t rows) {
  for (; rows >= kTokens; rows -= kTokens) {
    run_tile<kGroups, kHasMin, kPanels, kTokens>(run, blocks, tile);
    tile.x += kTokens * tile.x_stride;
    tile.out += kTokens * tile.out_stride;
  }
  constexpr int kLess = kTokens == 6 ? 4 : kTokens / 2;
  if constexpr (kLess > 0) run_rows<kGroups, kHasMin, kPanels, kLess>(run, blocks, tile, rows);
}

template <class W>
GRETA_INLINE void unpack(const std::byte* panel, int64_t first, int64_t blocks,
                         UnpackedRun<W::kGroups>& run) {
  constexpr int kMove = W::kCode.has_min ? 0 : (1 << kRunLogOffset) - W::kOffset;
  for (int64_t b = 0; b < blocks; ++b) {
    i32x16 w[8];
    W::load_codes(panel, first + b, w);
    GRETA_UNROLL(8)
    for (int g = 0; g < 8; ++g) store_raw(run.codes[b] + 64 * g, w[g] + set_i32(kMove * 0x01010101));
    typename W::Scales of;
    W::load_scales(panel, first + b, of);
    GRETA_UNROLL(2)
    for (int g = 0; g < W::kGroups; ++g) {
      store(run.d[b][g], of.d[g]);
      if constexpr (W::kCode.has_min) store(run.m[b][g], of.m[g]);
    }
  }
}

// Rows whose activations stay in the second-level cache while all panels pass.
constexpr int64_t kRowsPerPass = 240;

template <class W, int kPanels>
void run_panels(const KernelArgs& args, int64_t panel, int64_t begin, int64_t rows) {
  const PackedWeight& weight = *args.weight;
  const View& x = args.in[0];
  const int64_t blocks = weight.k / kBlock;
  UnpackedRun<W::kGroups> run[kPanels];
  for (int64_t b = 0; b < blocks; b += kRunBlocks) {
    const int64_t count = smaller(blocks - b, kRunBlocks);
    for (int p = 0; p < kPanels; ++p) {
      unpack<W>(weight.bytes.data() + (panel + p) * weight.panel_bytes, b, count, run[p]);
    }
    Tile tile{.x = x.raw_row(begin) + b * sizeof(ActivationBlock),
              .x_stride = x.stride,
              .out = args.out.row(begin) + panel * 16,
              .out_stride = args.out.stride / 4,
              .last_lanes = lanes_left(weight.n, (panel + kPanels - 1) * 16),
              .bias = bias_of(args, panel),
              .first = b == 0};
    run_rows<W::kGroups, W::kCode.has_min, kPanels, kInt8Tokens>(run, count, tile, rows);
  }
}

template <class W>
void gemm(const KernelArgs& args, Part part) {
  Share mine;
  for (Work work(args, part, args.out.rows, kInt8Tokens, kInt8Panels); work.next(mine);
       scale_sums(args, mine)) {
    for (int64_t begin = mine.row_begin; begin < mine.row_end; begin += kRowsPerPass) {
      const int64_t rows = smaller(mine.row_end - begin, kRowsPerPass);
      int64_t panel = mine.panel_begin;
      for (; panel + kInt8Panels <= mine.panel_end; panel += kInt8Panels) {
        run_panels<W, kInt8Panels>(args, panel, begin, rows);
      }
      if constexpr (kInt8Panels > 1) {
        for (; panel < mine.panel_end; ++panel) run_panels<W, 1>(args, panel, begin, rows);
      }
    }
  }
}

/// Asks for the first kAheadBytes of a stream, which ask_ahead() leaves out.
GRETA_INLINE void ask_for_start(const std::byte* stream) {
  for (int64_t j = 0; j < kAheadBytes; j += 64) prefetch(stream + j);
}

/// Asks for what lies kAheadBytes after block b.
template <class W>
GRETA_INLINE void ask_ahead(const std::byte* panel, int64_t b) {
  const std::byte* codes = W::codes_at(panel, b) + kAheadBytes;
  for (int j = 0; j < W::kBytes; j += 64) prefetch(codes + j);
  if (b % W::kRun != 0) return;
  const std::byte* scales = W::run_at(panel, b) + kAheadBytes;
  for (int j = 0; j < W::kScaleBytes; j += 64) prefetch(scales + j);
}

/// One row against panels [first, end), one after the other.
/// Tried: two panels by turns, 10 % faster in cache, but slower from memory (q8_0, q4_k), where two streams
/// are slower than one; a run of 8 blocks unrolled, 2 to 10 % slower.
template <class W>
GRETA_INLINE void row_panels(const KernelArgs& args, int64_t first, int64_t end) {
  const PackedWeight& weight = *args.weight;
  const ActivationBlock* x = args.in[0].row<ActivationBlock>(0);
  if (first < end) ask_for_start(weight.bytes.data() + first * weight.panel_bytes);
  for (int64_t p = first; p < end; ++p) {
    const std::byte* panel = weight.bytes.data() + p * weight.panel_bytes;
    f32x16 acc = first_sum(bias_of(args, p));
    for (int64_t b = 0; b < weight.k / kBlock; ++b) {
      ask_ahead<W>(panel, b);
      i32x16 w[8];
      W::load_codes(panel, b, w);
      typename W::Scales of;
      W::load_scales(panel, b, of);
      GRETA_UNROLL(2)
      for (int g = 0; g < W::kGroups; ++g) {
        i32x16 idot = start<W::kGroups, W::kCode.has_min, W::kCode.log_offset>(x + b, g);
        GRETA_UNROLL(8)
        for (int i = 0; i < 8 / W::kGroups; ++i) {
          const int j = g * 8 / W::kGroups + i;
          idot = dot4(idot, w[j], broadcast_i32(x[b].q + 4 * j));
        }
        const f32x16 m = W::kCode.has_min ? of.m[g] : f32x16(0.0f);
        acc = add_group<W::kGroups, W::kCode.has_min>(acc, idot, of.d[g], m, x + b, g);
      }
    }
    store_upto(args.out.row(0) + p * 16, acc, lanes_left(weight.n, p * 16));
  }
}

template <class W>
void gemv(const KernelArgs& args, Part part) {
  // Every piece taken breaks the stream: an eighth of what is shared at a time. Two panels at a time, from
  // the end, made 40 to 41 tok/s of Qwen2.5 1.5B on two threads; this made 43 to 44.
  const int64_t run = larger(2, args.weight->panels() / part.count / 32);
  Share mine;
  for (Work work(args, part, 1, 1, run); work.next(mine); scale_sums(args, mine)) {
    if (mine.row_begin < mine.row_end) row_panels<W>(args, mine.panel_begin, mine.panel_end);
  }
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
