// What a kernel may do when nobody asks for one order of f32 sums: several chains per output, which an FMA
// need not wait for, and minima apart from products.
// Everything else is the contract's kernel: packing, unpacking, tiles.

#define GRETA_ISA avx512
#define GRETA_UNIT "avx512vnni"
#define kInt8Kernels kUnusedInt8Kernels  // the library has its own
// clang-format off
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/matmul_int8.h"
// clang-format on
#include "kernels/free_order.h"

namespace greta::avx512 {
namespace {

/// A tile whose outputs have kChains sums each:
/// block b goes to chain b mod kChains, and the chains are added last.
template <class W, int kChains, int kPanels, int kTokens>
GRETA_INLINE void free_tile(const UnpackedRun<W::kGroups>* run, int64_t blocks, const Tile& tile) {
  f32x16 acc[kChains][kPanels][kTokens];
  GRETA_UNROLL(16)
  for (int c = 0; c < kChains; ++c) {
    GRETA_UNROLL(16)
    for (int p = 0; p < kPanels; ++p) {
      GRETA_UNROLL(16)
      for (int t = 0; t < kTokens; ++t) {
        const bool load = c == 0 && !tile.first;
        acc[c][p][t] = load ? load_upto(tile.out + t * tile.out_stride + p * 16, 16) : f32x16(0.0f);
      }
    }
  }
  const std::byte* x = tile.x;
  for (int64_t b = 0; b + kChains <= blocks; b += kChains) {
    GRETA_UNROLL(4)
    for (int c = 0; c < kChains; ++c, x += sizeof(ActivationBlock)) {
      GRETA_UNROLL(2)
      for (int g = 0; g < W::kGroups; ++g) {
        add_block<W::kGroups, W::kCode.has_min, kPanels, kTokens>(run, b + c, g, x, tile.x_stride, acc[c]);
      }
    }
  }
  GRETA_UNROLL(16)
  for (int p = 0; p < kPanels; ++p) {
    GRETA_UNROLL(16)
    for (int t = 0; t < kTokens; ++t) {
      f32x16 sum = acc[0][p][t];
      for (int c = 1; c < kChains; ++c) sum = sum + acc[c][p][t];
      store_upto(tile.out + t * tile.out_stride + p * 16, sum, 16);
    }
  }
}

template <class W, int kChains, int kPanels, int kTokens>
void free_gemm(const KernelArgs& args, Part) {
  const PackedWeight& weight = *args.weight;
  const int64_t blocks = weight.k / kBlock;
  UnpackedRun<W::kGroups> run[kPanels];
  for (int64_t panel = 0; panel + kPanels <= weight.panels(); panel += kPanels) {
    for (int64_t b = 0; b < blocks; b += kRunBlocks) {
      const int64_t count = smaller(blocks - b, kRunBlocks);
      for (int p = 0; p < kPanels; ++p)
        unpack<W>(weight.bytes.data() + (panel + p) * weight.panel_bytes, b, count, run[p]);
      Tile tile{.x = args.in[0].raw_row(0) + b * sizeof(ActivationBlock),
                .x_stride = args.in[0].stride,
                .out = args.out.row(0) + panel * 16,
                .out_stride = args.out.stride / 4,
                .last_lanes = 16,
                .bias = nullptr,
                .first = b == 0};
      for (int64_t row = 0; row + kTokens <= args.out.rows; row += kTokens) {
        free_tile<W, kChains, kPanels, kTokens>(run, count, tile);
        tile.x += kTokens * tile.x_stride;
        tile.out += kTokens * tile.out_stride;
      }
    }
  }
}

template <class W, int kChains>
void free_gemv(const KernelArgs& args, Part) {
  const PackedWeight& weight = *args.weight;
  const int64_t blocks = weight.k / kBlock;
  const ActivationBlock* x = args.in[0].row<ActivationBlock>(0);
  ask_for_start(weight.bytes.data());
  for (int64_t p = 0; p < weight.panels(); ++p) {
    const std::byte* panel = weight.bytes.data() + p * weight.panel_bytes;
    f32x16 acc[kChains], minimum[kChains];
    GRETA_UNROLL(4)
    for (int c = 0; c < kChains; ++c) acc[c] = minimum[c] = f32x16(0.0f);
    for (int64_t b = 0; b + kChains <= blocks; b += kChains) {
      GRETA_UNROLL(4)
      for (int c = 0; c < kChains; ++c) {
        const ActivationBlock* block = x + b + c;
        i32x16 w[8];
        ask_ahead<W>(panel, b + c);
        W::load_codes(panel, b + c, w);
        typename W::Scales of;
        W::load_scales(panel, b + c, of);
        GRETA_UNROLL(2)
        for (int g = 0; g < W::kGroups; ++g) {
          i32x16 idot = start<W::kGroups, W::kCode.has_min, W::kCode.log_offset>(block, g);
          GRETA_UNROLL(8)
          for (int j = g * 8 / W::kGroups; j < (g + 1) * 8 / W::kGroups; ++j)
            idot = dot4(idot, w[j], broadcast_i32(block->q + 4 * j));
          acc[c] = fma(to_f32(idot), of.d[g] * broadcast(&block->d), acc[c]);
          if constexpr (W::kCode.has_min) {
            const f32x16 s = W::kGroups == 1 ? broadcast(&block->s)
                                             : broadcast(&block->d) * to_f32(sum_of<W::kGroups>(block, g));
            minimum[c] = fma(of.m[g], s, minimum[c]);
          }
        }
      }
    }
    f32x16 sum = acc[0] + minimum[0];
    GRETA_UNROLL(4)
    for (int c = 1; c < kChains; ++c) sum = sum + (acc[c] + minimum[c]);
    store(args.out.row(0) + p * 16, sum);
  }
}

}  // namespace
}  // namespace greta::avx512

namespace greta::bench {

#define GRETA_FREE(type)                                                   \
  {"two chains, tiles of 2 x 3", TensorType::type, Shape::gemm,            \
   avx512::free_gemm<avx512::BlockWeight<TensorType::type>, 2, 2, 3>},     \
      {"two chains, tiles of 2 x 6", TensorType::type, Shape::gemm,        \
       avx512::free_gemm<avx512::BlockWeight<TensorType::type>, 2, 2, 6>}, \
      {"two chains, tiles of 1 x 8", TensorType::type, Shape::gemm,        \
       avx512::free_gemm<avx512::BlockWeight<TensorType::type>, 2, 1, 8>}, \
      {"one chain, tiles of 2 x 6", TensorType::type, Shape::gemm,         \
       avx512::free_gemm<avx512::BlockWeight<TensorType::type>, 1, 2, 6>}, \
      {"two chains", TensorType::type, Shape::gemv,                        \
       avx512::free_gemv<avx512::BlockWeight<TensorType::type>, 2>},       \
      {"four chains", TensorType::type, Shape::gemv,                       \
       avx512::free_gemv<avx512::BlockWeight<TensorType::type>, 4>},

extern const FreeOrder kFreeOrders[];
const FreeOrder kFreeOrders[] = {GRETA_FREE(q4_1) GRETA_FREE(q4_k) GRETA_FREE(q6_k)
                                     GRETA_FREE(q8_0){nullptr, TensorType::f32, Shape::gemm, nullptr}};

}  // namespace greta::bench
