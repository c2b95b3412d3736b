#pragma once
// Matrix route for 16-bit weights. Activations are rounded to the weight's type, the products are the matrix
// unit's (mma_half.h). K goes in slices of 256: each is one chain of the unit's instruction from zero, in
// ascending k; the slices' sums are added to the bias (or 0) in ascending order, in f32. A GEMV gives the bits
// of a GEMM, and sim/matmul.h those of both.

#include "kernels/gpu/gemv.h"
#include "kernels/gpu/mma_half.h"

namespace greta::gpu::GRETA_FORM {

/// A slice of a panel, for gemv(), and the activations of the same k behind it. Every token of the unit's tile
/// is the one that there is.
template <TensorType kT>
struct HalfUnit {
  using T = HalfTile;
  struct Link {
    float sum;
    GRETA_DEVICE float add_to(float acc) const { return acc + sum; }
  };
  static constexpr GemvShape kShape{kT, kWave};
  static constexpr int kLinks = 1, kMade = T::kOutRows;
  static_assert(sizeof(Link) == kShape.link_bytes);

  GRETA_DEVICE void make(const std::byte* unit, int64_t left, Link (&made)[kMade]) const {
    float sum[4] = {};
    if (left >= kSlice) {
#pragma unroll
      for (int step = 0; step < kSlice / 16; ++step) add<true>(unit, step, 8, sum);
    } else {
      for (int step = 0; 16 * step < left; ++step)
        add<false>(unit, step, static_cast<int>(left - 16 * step + 1) / 2, sum);
    }
#pragma unroll
    for (int i = 0; i < kMade; ++i) made[i] = {sum[i * T::kOutTokens]};
  }

  GRETA_DEVICE void put(const Link (&made)[kMade], Link* slot) const {
    if (T::out_token(0) != 0) return;
#pragma unroll
    for (int i = 0; i < kMade; ++i) slot[T::out_row(i)] = made[i];
  }

 private:
  /// Pairs of k from `pairs` on are nobody's: what lies there is taken for 0.
  template <bool kWhole>
  GRETA_DEVICE void add(const std::byte* unit, int step, int pairs, float (&sum)[4]) const {
    HalfWords w;
    load_words<kT>(unit + step * T::kStepBytes, w);
    uint32_t x[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      x[i] = load<uint32_t>(unit + kShape.x_at() + 32 * step + 4 * T::pair(i));
      if (kWhole || T::pair(i) < pairs) continue;
      x[i] = 0;
      for (uint32_t& word : w[i]) word = 0;
    }
    multiply<kT>(sum, w, x);
  }
};

/// Stages of 64 k of a GEMM in shared memory: tokens, and panels behind them.
struct HalfStages {
  static constexpr HalfGemmShape kShape{kWave};
  static constexpr int kQuads = HalfGemmShape::kRowBytes / 16, kPanelQuads = HalfGemmShape::kPanelBytes / 16,
                       kAhead = kShape.stages - 2;  // others may still read the last one, and the one before

  const Args& args;
  std::byte* shared;
  int64_t token, panel, panels, row_bytes;  // the first ones of the work-group; a row's bytes of activations
  int count;

  GRETA_DEVICE HalfStages(const Args& of, std::byte* memory)
      : args(of),
        shared(memory),
        token(int64_t{group_x()} * kShape.tokens),
        panel(int64_t{group_y()} * kShape.panels),
        panels((of.weight.n + kPanelRows - 1) / kPanelRows),
        row_bytes((of.weight.k + 1) / 2 * 4),
        count(static_cast<int>((of.weight.k + HalfGemmShape::kStageK - 1) / HalfGemmShape::kStageK)) {}

  GRETA_DEVICE std::byte* at(int stage) const {
    return shared + stage % kShape.stages * kShape.stage_bytes();
  }
  GRETA_DEVICE const std::byte* panel_at(int stage, int wave) const {
    return at(stage) + kShape.tokens * HalfGemmShape::kRowBytes + wave * HalfGemmShape::kPanelBytes;
  }

  /// Begins to copy a stage, if there is one; of rows and panels beyond the last, that one's; beyond K zeros.
  GRETA_DEVICE void begin(int stage) const {
    if (stage < count) {
      std::byte* const to = at(stage);
      const int64_t from = int64_t{stage} * HalfGemmShape::kRowBytes;
      for (int i = thread_index(); i < kShape.tokens * kQuads; i += thread_count()) {
        const int row = i / kQuads, quad = i % kQuads;
        const std::byte* x = args.in[0].raw_row(smaller(token + row, args.out.rows - 1));
        copy(to + quad_place(row, quad), x + from + 16 * quad, row_bytes - from - 16 * quad);
      }
      std::byte* const panels_to = to + kShape.tokens * HalfGemmShape::kRowBytes;
      const int64_t first = from * kPanelRows;
      for (int i = thread_index(); i < kShape.panels * kPanelQuads; i += thread_count()) {
        const std::byte* w =
            args.weight.panels + smaller(panel + i / kPanelQuads, panels - 1) * args.weight.panel_bytes;
        const int64_t in_panel = first + i % kPanelQuads * 16;
        copy(panels_to + 16 * i, w + in_panel, row_bytes * kPanelRows - in_panel);
      }
    }
    end_batch();
  }

 private:
  static GRETA_DEVICE void copy(std::byte* to, const std::byte* from, int64_t bytes) {
    if (bytes >= 16) return copy_quad(to, from);
    Quad quad{};
    for (int word = 0; word < 4; ++word) {
      if (4 * word < bytes) quad.words[word] = load<uint32_t>(from + 4 * word);
    }
    *reinterpret_cast<Quad*>(to) = quad;
  }
};

/// A wave has a panel, by all tokens of the work-group.
template <TensorType kT>
GRETA_DEVICE void half_gemm(const Args& args) {
  using T = HalfTile;
  using S = HalfStages;
  constexpr int kSteps = HalfGemmShape::kStageK / 16, kOfSlice = kSlice / HalfGemmShape::kStageK;
  GRETA_SHARED_BESIDE(shared, S::kShape.bytes());
  const S stages(args, shared);
  const int wave = thread_index() / kWave;
  const int64_t panel = stages.panel + wave;
  using P = HalfProduct<kT, S::kShape.tokens>;
  P slice;
  float total[P::kTiles][4];
#pragma unroll
  for (int t = 0; t < P::kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      total[t][i] =
          first_sum(args, smaller(panel, stages.panels - 1) * kPanelRows + T::out_row(i / T::kOutTokens));
  }
  for (int stage = 0; stage < S::kAhead; ++stage) stages.begin(stage);
  for (int first = 0; first < stages.count; first += kOfSlice) {
#pragma unroll
    for (int part = 0; part < kOfSlice; ++part) {
      const int stage = first + part;
      if (stage >= stages.count) break;
      wait_for_batches<S::kAhead - 1>();
      show_to_unit();
      meet();
      HalfWords w[kSteps];
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        load_words<kT>(stages.panel_at(stage, wave) + step * T::kStepBytes, w[step]);
      P::open();
#pragma unroll
      for (int step = 0; step < kSteps; ++step) slice.add(w[step], stages.at(stage), step, part + step == 0);
      P::close();
      stages.begin(stage + S::kAhead);
      slice.template wait<1>();
    }
    slice.template wait<0>();
#pragma unroll
    for (int t = 0; t < P::kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) total[t][i] += slice.sum[t][i];
    }
  }
  if (panel >= stages.panels) return;
#pragma unroll
  for (int t = 0; t < P::kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_sum(args, stages.token + t * T::kTokens + T::out_token(i % T::kOutTokens),
                panel * kPanelRows + T::out_row(i / T::kOutTokens), total[t][i]);
    }
  }
}

}  // namespace greta::gpu::GRETA_FORM
