// Mistakes that were made for no hypothesis: the honest answer is their stage, phase and pattern, but for one
// that has been nameable since causes are sought in some columns, too.

#include <algorithm>
#include <cmath>

#include "fault/bank.h"
#include "fault/matrix.h"

namespace greta {
namespace {

/// Row (or column) i of a tile of 16 comes from row 7 i + 3 mod 16.
int64_t shuffled(int64_t i) { return i / 16 * 16 + (i % 16 * 7 + 3) % 16; }

void shuffle_rows(Matrix& w, const TwinSite&) {
  const std::vector<float> rows = w.data;
  for (int64_t row = 0; row < w.n; ++row) {
    const int64_t from = shuffled(row) < w.n ? shuffled(row) : row;
    std::copy_n(&rows[static_cast<size_t>(from * w.k)], w.k, &w.at(row, 0));
  }
}

void swizzle_columns(Matrix& w, const TwinSite&) {
  const std::vector<float> rows = w.data;
  for (int64_t row = 0; row < w.n; ++row) {
    for (int64_t k = 0; k < w.k; ++k) {
      const int64_t from = shuffled(k) < w.k ? shuffled(k) : k;
      w.at(row, k) = rows[static_cast<size_t>(row * w.k + from)];
    }
  }
}

/// A 4 x 4 transposition within tiles of 16 outputs: a register layout misread.
Wrong transpose_tiles(TwinSite&) {
  return [](const WrongCall& call) {
    const Rows right = as_f32(call.args.out, call.args.out.cols);
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      const int64_t from = i / 16 * 16 + i % 4 * 4 + i % 16 / 4;
      return right.view.row(r)[from < call.args.out.cols ? from : i];
    });
  };
}

MakeWrong negate_odd() {
  return change_each([](double x, int64_t i) { return i % 2 == 1 ? -x : x; });
}

/// Noise of 1 % of the row's root mean square, the same in every run.
Wrong add_noise(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    for (int64_t r = 0; r < out.rows; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < out.cols; ++i)
        squares += static_cast<double>(out.row(r)[i]) * static_cast<double>(out.row(r)[i]);
      const double size = 1e-2 * std::sqrt(squares / static_cast<double>(out.cols));
      for (int64_t i = 0; i < out.cols; ++i) {
        out.row(r)[i] += static_cast<float>(size * noise_at(static_cast<uint64_t>(i) + 1000));
      }
    }
  };
}

/// The input changed block by block (32 values) before the kernel rounds it.
template <class Change>
Wrong change_input_blocks(TwinSite& site, Change change) {
  const size_t unrounded = site.read_unrounded_input();
  return [kernel = site.call().kernel, isa = site.engine.options().isa, change,
          unrounded](const WrongCall& call) {
    const View& source = call.args.in[unrounded];
    const Rows wrong = as_f32(source, source.cols);
    for (int64_t r = 0; r < source.rows; ++r) {
      for (int64_t b = 0; b < source.cols / kBlock; ++b) {
        change(source.row(r) + b * kBlock, b, source.cols / kBlock, wrong.view.row(r) + b * kBlock);
      }
    }
    run_on(*kernel, call.args, wrong.view, isa);
  };
}

float largest(const float* x) {
  float most = 0;
  for (int64_t i = 0; i < kBlock; ++i) most = std::max(most, std::abs(x[i]));
  return most;
}

/// The codes of a block of activations with the next block's scale.
Wrong next_activation_scale(TwinSite& site) {
  return change_input_blocks(site, [](const float* x, int64_t b, int64_t blocks, float* out) {
    const float own = largest(x), next = b + 1 < blocks ? largest(x + kBlock) : own;
    for (int64_t i = 0; i < kBlock; ++i) out[i] = own > 0 ? x[i] * (next / own) : 0;
  });
}

Wrong activations_in_4_bits(TwinSite& site) {
  return change_input_blocks(site, [](const float* x, int64_t, int64_t, float* out) {
    const float step = largest(x) / 7;
    for (int64_t i = 0; i < kBlock; ++i) out[i] = step > 0 ? step * std::nearbyint(x[i] / step) : 0;
  });
}

}  // namespace

FaultList unexplained_faults() {
  const std::string tile = kGitHub + "tile-ai/tilelang/pull/1627",
                    scales = kGitHub + "1bit-MONSTER/1bit-MONSTER/issues/153";
  const auto fault = [](const char* name, const char* kind, Stage stage, const char* what,
                        const std::string& source, MakeWrong make) {
    return Fault{name, kind, stage, what, source, "", std::move(make)};
  };
  return {
      fault("wk_rows_shuffled", "rows_shuffled", Stage::k, "rows of Wk are permuted in tiles of 16", tile,
            edited(shuffle_rows)),
      fault("w_up_columns_shuffled", "columns_shuffled", Stage::up,
            "columns of W_up are permuted in tiles of 16", tile, edited(swizzle_columns)),
      fault("q_tiles_transposed", "tiles_transposed", Stage::q, "4 x 4 tiles of outputs are transposed", tile,
            transpose_tiles),
      {"up_odd_negated", "odd_lanes_negated", Stage::up, "odd elements have the wrong sign", kMadeUp,
       "output_scaled", negate_odd()},
      fault("gate_noise", "noise", Stage::gate, "noise of 1 % is added", kMadeUp, add_noise),
      fault("q_next_activation_scale", "activation_scale", Stage::q,
            "a block of the input has the next block's scale", scales, next_activation_scale),
      fault("down_4_bit_input", "activation_bits", Stage::down, "the input is rounded to 15 levels per block",
            kMadeUp, activations_in_4_bits),
  };
}

}  // namespace greta
