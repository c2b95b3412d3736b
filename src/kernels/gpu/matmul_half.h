#pragma once
// Matrix route for 16-bit weights. Activations are rounded to the weight's type, the products are the matrix
// unit's (mma_half.h). K goes in slices of 256: each is one chain of the unit's instruction from zero, in
// ascending k; the slices' sums are added to the bias (or 0) in ascending order, in f32. A GEMV gives the
// bits of a GEMM, and sim/matmul.h those of both.

#include "kernels/gpu/gemv.h"
#include "kernels/gpu/mma_half.h"

namespace greta::gpu::GRETA_FORM {

/// A slice of a panel, for gemv(), and the activations of the same k behind it. Every token of the unit's
/// tile is the one that there is.
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

/// A tile of a GEMM: its first token and panel.
struct HalfTileAt {
  int64_t token, panel;
};

/// The stages of a work-group's tiles in shared memory: tokens, panels behind them, and their gates.
struct HalfStages {
  using Shape = HalfGemmShape;
  static constexpr Shape kShape{kWave};

  SharedAt shared, gates;
  int count;          // of a tile
  int64_t panels;     // of the weight
  int across, tiles;  // tiles of tokens; all
  int first, apart;   // the work-group's

  GRETA_DEVICE HalfStages(const Args& args, std::byte* memory)
      : shared(memory),
        gates(shared + kShape.gates_at()),
        count(static_cast<int>((args.weight.k + Shape::kStageK - 1) / Shape::kStageK)),
        panels((args.weight.n + kPanelRows - 1) / kPanelRows),
        across(static_cast<int>((args.out.rows + kShape.tokens - 1) / kShape.tokens)),
        tiles(across * static_cast<int>((panels + kShape.panels - 1) / kShape.panels)),
        first(group_y() - args.first),
        apart(args.groups) {
    if (thread_index() < kShape.stages) {
      make_arrival_gate(full(thread_index()));
      make_gate(empty(thread_index()), kShape.panels);
    }
    meet();
  }

  /// Those that run at once share tokens or panels.
  GRETA_DEVICE HalfTileAt tile(int i) const {
    return {int64_t{i % across} * kShape.tokens, int64_t{i / across} * kShape.panels};
  }
  GRETA_DEVICE SharedAt at(int place) const { return shared + place * kShape.stage_bytes(); }
  GRETA_DEVICE SharedAt panel_at(int place, int i) const {
    return at(place) + (kShape.tokens * Shape::kRowBytes + i * Shape::kPanelBytes);
  }
  /// Passed by the wave that copied; and by those who multiplied.
  GRETA_DEVICE SharedAt full(int place) const { return gates + kGateBytes * place; }
  GRETA_DEVICE SharedAt empty(int place) const { return gates + kGateBytes * (kShape.stages + place); }
};

/// A place of a ring, and how often it has come round.
struct RingPlace {
  int place = 0, turn = 0;
  GRETA_DEVICE void move(int by, int places) {
    place += by;
    if (place >= places) place -= places, ++turn;
  }
};

/// What a wave that copies does of a stage. Beyond K are zeros; tokens beyond the last are left as they are,
/// or zeros, and so are panels.
struct StageCopier {
  using Shape = HalfGemmShape;
  static constexpr Shape kShape = HalfStages::kShape;
  static constexpr int kQuads = Shape::kRowBytes / 16;

  const Args& args;
  const HalfStages& stages;

  GRETA_DEVICE void copy(const HalfTileAt& tile, int stage, int place) const {
    const SharedAt full = stages.full(place);
    if constexpr (kCopiesBoxes) {
      if (!is_elected()) return;
      expect_bytes(full, kShape.stage_bytes());
      copy_box(full, stages.at(place), args.rows, stage * Shape::kStageK, tile.token);
      copy_box(full, stages.panel_at(place, 0), args.panels, stage * Shape::kPanelBytes / 8, tile.panel);
    } else {
      copy_by_lanes(tile, stage, place);
      pass_after_copies(full);
    }
  }

 private:
  GRETA_DEVICE void copy_by_lanes(const HalfTileAt& tile, int stage, int place) const {
    const int64_t from = int64_t{stage} * Shape::kRowBytes, left = (args.weight.k + 1) / 2 * 4 - from;
    const int rows = static_cast<int>(smaller(kShape.tokens, args.out.rows - tile.token));
    for (int i = lane_of_wave(); i < rows * kQuads; i += kWave) {
      const int row = i / kQuads, quad = i % kQuads;
      copy_quad_of(stages.at(place) + quad_place(row, quad),
                   args.in[0].raw_row(tile.token + row) + from + 16 * quad, left - 16 * quad);
    }
    const int panels = static_cast<int>(smaller(kShape.panels, stages.panels - tile.panel));
    for (int i = 16 * lane_of_wave(); i < panels * Shape::kPanelBytes; i += 16 * kWave) {
      const int64_t in_panel = from * kPanelRows + i % Shape::kPanelBytes;
      copy_quad_of(
          stages.panel_at(place, 0) + i,
          args.weight.panels + (tile.panel + i / Shape::kPanelBytes) * args.weight.panel_bytes + in_panel,
          left * kPanelRows - i % Shape::kPanelBytes);
    }
    meet_wave();
  }
  /// Of which so many bytes are there.
  static GRETA_DEVICE void copy_quad_of(const SharedAt& to, const std::byte* from, int64_t bytes) {
    if (bytes >= 16) return copy_quad(to, from);
    Quad quad{};
    for (int word = 0; word < 4; ++word) {
      if (4 * word < bytes) quad.words[word] = load<uint32_t>(from + 4 * word);
    }
    *reinterpret_cast<Quad*>(to.bytes) = quad;
  }
};

GRETA_DEVICE void copy_stages(const Args& args, const HalfStages& stages) {
  constexpr HalfGemmShape kShape = HalfStages::kShape;
  static_assert(kShape.copiers < kShape.stages);
  const StageCopier copier{args, stages};
  int stage = thread_index() / kWave - kShape.panels;
  RingPlace at{stage, 0};
  for (int tile = stages.first;; at.move(kShape.copiers, kShape.stages), stage += kShape.copiers) {
    for (; stage >= stages.count; stage -= stages.count) tile += stages.apart;
    if (tile >= stages.tiles) break;
    if (at.turn > 0) wait_at(stages.empty(at.place), at.turn - 1, kShape.panels);
    copier.copy(stages.tile(tile), stage, at.place);
  }
  wait_for_batches<0>();
}

/// What a wave with a panel of each tile does: its outputs, by all tokens of the tile. Slices are added up in
/// two products by turns where the unit runs on: one is added to the totals while it makes the other.
template <TensorType kT>
class HalfMultiplier {
 public:
  using T = HalfTile;
  using Shape = HalfGemmShape;
  static constexpr Shape kShape = HalfStages::kShape;
  using P = HalfProduct<kT, kShape.tokens>;
  static constexpr int kOfSlice = kSlice / Shape::kStageK;

  GRETA_DEVICE HalfMultiplier(const Args& of, const HalfStages& from)
      : args(of), stages(from), wave(thread_index() / kWave) {}

  GRETA_DEVICE void multiply(const HalfTileAt& tile) {
    const int64_t panel = tile.panel + wave;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float first =
          first_sum(args, smaller(panel, stages.panels - 1) * kPanelRows + T::out_row(i / T::kOutTokens));
#pragma unroll
      for (int t = 0; t < P::kTiles; ++t) total[t][i] = first;
    }
    P one, other;
    for (int left = stages.count; left > 0; left -= kOfSlice) {
      slice(one, other, left, false);
      if (!P::kRunsOn || left <= kOfSlice) {
        end_with(one);
        continue;
      }
      left -= kOfSlice;
      slice(other, one, left, true);
      end_with(other);
    }
    store(tile.token, panel);
  }

 private:
  GRETA_DEVICE void add(const P& done) {
#pragma unroll
    for (int t = 0; t < P::kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) total[t][i] += done.sum[t][i];
    }
  }
  GRETA_DEVICE void end_with(P& last) {
    last.template wait<0>();
    give_back();
    add(last);
  }
  GRETA_DEVICE void give_back() {
    pass(stages.empty(used.place));
    used.move(1, kShape.stages);
  }

  /// Of the stages that are left, those of a slice. `done`, the slice before, is added meanwhile.
  GRETA_DEVICE void slice(P& now, P& done, int left, bool adds) {
    constexpr int kSteps = 2, kParts = Shape::kStageK / 16 / kSteps;
#pragma unroll
    for (int stage = 0; stage < kOfSlice; ++stage) {
      if (stage >= left) break;
      wait_at(stages.full(at.place), at.turn);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        HalfWords w[kSteps];
#pragma unroll
        for (int step = 0; step < kSteps; ++step)
          load_words<kT>(stages.panel_at(at.place, wave).bytes + (part * kSteps + step) * T::kStepBytes,
                         w[step]);
        P::open();
#pragma unroll
        for (int step = 0; step < kSteps; ++step)
          now.add(w[step], stages.at(at.place), part * kSteps + step, stage + part + step == 0);
        P::close();
        if (stage + part == 0) {
          done.template wait<1>();
          if (adds) add(done);
        } else {
          P::template wait_behind<1>();
        }
        if (part == 0 && (stage > 0 || adds)) give_back();  // of the stage before
      }
      at.move(1, kShape.stages);
    }
  }

  GRETA_DEVICE void store(int64_t token, int64_t panel) const {
    if (panel >= stages.panels) return;
#pragma unroll
    for (int t = 0; t < P::kTiles; ++t) {
#pragma unroll
      for (int c = 0; c < T::kOutTokens; ++c) {
        float rows[T::kOutRows];
#pragma unroll
        for (int r = 0; r < T::kOutRows; ++r) rows[r] = total[t][r * T::kOutTokens + c];
        store_sums(args, token + t * T::kTokens + T::out_token(c), panel * kPanelRows + T::out_row(0), rows);
      }
    }
  }

  const Args& args;
  const HalfStages& stages;
  int wave;
  RingPlace at, used;
  float total[P::kTiles][4];
};

template <TensorType kT>
GRETA_DEVICE void half_gemm(const Args& args) {
  constexpr HalfGemmShape kShape = HalfStages::kShape;
  // No array of its own before it: the unit wants the stages aligned to 1024 bytes.
  GRETA_SHARED_BESIDE(shared, kShape.bytes());
  const HalfStages stages(args, shared);
  if (thread_index() < kShape.panels * kWave) {
    more_registers();
    HalfMultiplier<kT> multiplier(args, stages);
    for (int i = stages.first; i < stages.tiles; i += stages.apart) multiplier.multiply(stages.tile(i));
  } else {
    fewer_registers();
    copy_stages(args, stages);
  }
}

}  // namespace greta::gpu::GRETA_FORM
