#pragma once
// The oracle: every stage recomputed in f64 from its recorded inputs and the GGUF's weights, with the
// rounding-error bound of each element. It shares no code with the kernels (own dequantisation, norm, RoPE,
// softmax), and applies the roundings that the kernel declares, and only those. docs/numerics.md derives each
// bound, with its source.

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rounding.h"
#include "model/rope_scaling.h"
#include "model/tensor.h"
#include "numerics/bounds.h"

namespace greta {

/// What a stage ought to be. `bound[i]` is the largest |observed - value[i]| that rounding can explain
/// (probabilistic bound of Higham & Mary 2019 with the stated failure probability, plus formats' roundings).
struct Expected {
  std::vector<double> value;
  std::vector<double> bound;
  // Of sums by a matrix unit that truncates or floors; else empty. How far its roundings move each sum in the
  // mean (`value` includes it), and the standard deviation about that.
  std::vector<double> drift = {};
  std::vector<double> spread = {};

  /// False where it is made from NaN or infinity, or may overflow on the way: then it judges nothing.
  bool tells(size_t i) const { return !std::isnan(value[i]) && !std::isinf(bound[i]); }
};

namespace oracle {

/// y = scale (W x + bias) for each of the `rows` rows of x [rows, k];
/// W is [n, k] as stored in the file, the bias [n] optional.
Expected matmul(const Tensor& weight, std::span<const float> x, int64_t rows, const Roundings& roundings,
                const Tensor* bias = nullptr, double scale = 1);

/// x * rsqrt(mean(x^2) + eps) * w, by rows of `weight`'s length. `sum_lanes`: in how many interleaved partial
/// sums the squares are added (ours: 16); 1 for an engine whose order is unknown.
/// `between`: what x * rsqrt() is rounded to before the weight.
Expected rms_norm(std::span<const float> x, const Tensor& weight, double eps,
                  int sum_lanes = bounds::kRowSumLanes, Format between = Format::f32);

/// Rounding the results to a coarse output, beside the roundings of f32 arithmetic.
void add_output_rounding(Format output, Expected& expected);

/// Infinities, but for a masked score's, tell nothing, nor does what `output` may hold as one: they become
/// NaN, or have no bound.
void forget_overflows(Format output, Expected& expected);

/// Rotates pairs of the first rope_dims of every head; row r is at `position + r`. Pair i turns by
///   position * scale * base^(-2i / rope_dims) / factor_i
/// or as YaRN slows it down, and becomes `magnitude` times as long.
/// `adjacent`: pairs (2i, 2i + 1), else halves (i, i + rope_dims / 2), from dim `first` on.
struct RopeShape {
  int64_t heads = 1, head_dim = 1, rope_dims = 1;
  double base = 10000;
  bool adjacent = true;
  // Relative error of the angle: 0 for ours (high + low part, in turns), about 3 * 2^-24 for an engine that
  // multiplies position and frequency in f32.
  double angle_rounding = 0;
  double scale = 1;
  const Tensor* factors = nullptr;  // f32, one per pair; or none
  Format between = Format::f32;     // what cosine, sine and both products are rounded to
  double angle_growth = 0;          // more of angle_rounding per pair: angles made from the one before
  bool fast_math = false;           // sine and cosine by CUDA's intrinsics
  double magnitude = 1;
  YarnRope yarn = {};
  int64_t first = 0;
};
/// What pair i turns by from one position to the next, in radians.
double rope_frequency(const RopeShape& shape, int64_t pair);
Expected rope(std::span<const float> x, const RopeShape& shape, int64_t position);

/// Attention of query rows at positions `position + r` over `n_pos` cached positions. Caches are [n_pos,
/// n_head_kv * head_dim] in position order, as read back (already rounded to the cache's format).
struct AttentionShape {
  int64_t n_head = 1, n_head_kv = 1, head_dim = 1;
  double scale = 1;
  double cap = 0;               // of scaled scores, before the mask: soft_cap(); 0: none
  int64_t window = 0;           // positions that a row sees, its own included; 0: all before it
  bool to_last_weight = false;  // a mix by weights that its own kernel makes, and masks
};
/// Queries, and pv's weights, are rounded as declared; sums run in the accumulator's format. A score is
/// rounded to `between` before its scale and before its mask. Weights that are rounded before they are
/// divided by their sum are any within that: how large they were then is not known. [rows * n_head, n_pos];
/// masked positions are -inf with bound 0.
Expected qk(std::span<const float> q, std::span<const float> keys, const AttentionShape& shape,
            int64_t position, const Roundings& roundings = {});
/// By rows of `n_pos`; -inf scores give 0. `sum_lanes` as in rms_norm. `sinks`, one a head, rows being of one
/// head after the other: a score that is only in the sum (Xiao et al. 2023, "attention sinks", as gpt-oss has
/// them); empty for none.
Expected softmax(std::span<const float> scores, int64_t n_pos, int sum_lanes = bounds::kRowSumLanes,
                 bool fast_math = false, std::span<const double> sinks = {});
/// [rows, n_head * head_dim]; earlier positions before the window are read only where they have a weight.
/// Later ones than the row's own are not read; where they have weights, a kernel may read them or not.
Expected pv(std::span<const float> weights, std::span<const float> values, const AttentionShape& shape,
            int64_t position, const Roundings& roundings = {});

/// Values x, rounded so far as their bounds say, as a soft cap leaves them: cap tanh(x / cap) (Gemma 2, 2024,
/// section 2). `held`: what the quotient, its tanh and the product are rounded to.
void soft_cap(double cap, Format held, bool fast_math, Expected& expected);

/// What the cache must hold: k rows then v rows, rounded once to `cache`. The bound is 0; of q8_0, the scale
/// where x / d lies at a tie, and what q8_0_stored has otherwise: a cache may be either. Of rotated keys and
/// values also what the rotation may be otherwise. Narrower values have zeros behind them.
Expected kv_write(std::span<const float> k_rope, std::span<const float> v, Format cache,
                  const Roundings& roundings = {});

/// a + scale * b; `between`: what the scale and its product are rounded to.
Expected add(std::span<const float> a, std::span<const float> b, double scale = 1,
             Format between = Format::f32);
/// silu(gate) * up; `roundings.between`: what the first is rounded to before the product.
Expected silu_mul(std::span<const float> gate, std::span<const float> up, const Roundings& roundings = {});
/// gelu(gate) * up, GELU in its tanh form.
Expected gelu_mul(std::span<const float> gate, std::span<const float> up, const Roundings& roundings = {});
/// With g = min(gate, 7) and u = up within +-7: g sigmoid(1.702 g) (u + 1), in this order (OpenAI's gpt-oss,
/// model.py, swiglu()).
Expected swiglu_oai_mul(std::span<const float> gate, std::span<const float> up,
                        const Roundings& roundings = {});
/// GELU by a table of f16 results for f16 arguments, 0 up to -10 and the gate itself from 10 on, times up in
/// f32 (ggml-cpu/vec.h, ggml_vec_geglu_f32). An entry is f16's nearest of a f32 computation.
Expected gelu_table_mul(std::span<const float> gate, std::span<const float> up);
/// The embedding row of each token id, as f32 (one rounding at most), times `scale`, which is rounded to
/// `between`; without one the bound is 0.
Expected embed(const Tensor& table, std::span<const int32_t> ids, double scale = 1,
               Format between = Format::f32);

}  // namespace oracle
}  // namespace greta
