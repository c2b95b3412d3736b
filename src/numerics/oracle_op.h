#pragma once
// The oracles of ops that are no stage of a dense model: graphs of experts, state-space layers, foreign
// attention. In f64, with the rounding-error bound of an f32 kernel; docs/numerics.md ("Ops") derives each.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "numerics/oracle.h"

namespace greta::oracle {

/// A function of one number: its value, and how far an f32 kernel may be from it.
struct UnaryFunction {
  std::string_view name;
  double (*value)(double x);
  double (*bound)(double x);
};

/// nullptr when the name is not known.
const UnaryFunction* find_unary(std::string_view name);
/// "silu, gelu, ...": for messages.
std::string unary_names();

Expected unary(const UnaryFunction& function, std::span<const float> x);
/// function(gate) * up.
Expected glu(const UnaryFunction& function, std::span<const float> gate, std::span<const float> up);
/// gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit); g * sigmoid(alpha g) * (u + 1).
Expected swiglu_oai(std::span<const float> gate, std::span<const float> up, double alpha, double limit);

/// a * b; b's values are repeated.
Expected mul(std::span<const float> a, std::span<const float> b);
/// factor * x + bias.
Expected scale(std::span<const float> x, double factor, double bias);

/// (x - mean) / sqrt(variance + eps) * weight + bias, by rows of n; weight and bias [n] or empty.
Expected layer_norm(std::span<const float> x, int64_t n, std::span<const float> weight,
                    std::span<const float> bias, double eps);
/// x / max(sqrt(sum x^2), eps), by rows of n.
Expected l2_norm(std::span<const float> x, int64_t n, double eps);

/// What happens to scores before they are weights.
struct ScoreShape {
  int64_t rows = 1, heads = 1, n = 1;
  double scale = 1;
  double softcap = 0;                 // c tanh(z / c); 0: none
  std::span<const float> mask = {};   // [rows, n] for all heads, or [rows, heads, n]; is added
  std::span<const float> sinks = {};  // [heads]: a further score of each head, whose weight is dropped
  bool causal = false;                // row r sees the columns up to n - rows + r
};
/// Weights of scores [rows, heads, n].
Expected soft_max(std::span<const float> scores, const ScoreShape& shape);
/// Attention of q [rows, heads, d] over k [n, kv_heads, d] and v [n, kv_heads, d_v]: [rows, heads, d_v].
/// Queries and weights are rounded to `roundings.activation` at most.
Expected flash_attention(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                         int64_t kv_heads, const ScoreShape& shape, const Roundings& roundings = {});

/// y[s, t, i] = sum_j x[s, i, t + j] c[i, j]; x [sequences, channels, tokens + taps - 1], c [channels, taps].
Expected ssm_conv(std::span<const float> x, std::span<const float> c, int64_t sequences, int64_t channels,
                  int64_t taps);

/// A selective scan (Mamba; Mamba 2, where A is one number a head), per sequence s, token t, head h:
///   dt' = softplus(dt),  S[p, n] = S[p, n] exp(dt' A) + B[n] x[p] dt',  y[p] = sum_n S[p, n] C[n]
struct ScanShape {
  int64_t sequences = 1, tokens = 1, heads = 1, head_dim = 1, groups = 1, d_state = 1;
  bool scalar_decay = false;  // A [heads], else [heads, d_state]
};
/// state [s, heads, head_dim, d_state], x [s, t, heads, head_dim], dt [s, t, heads], B and C [s, t, groups,
/// d_state]. y [s, t, heads, head_dim], then the last states as `state`.
Expected ssm_scan(std::span<const float> state, std::span<const float> x, std::span<const float> dt,
                  std::span<const float> a, std::span<const float> b, std::span<const float> c,
                  const ScanShape& shape);

/// The gated delta rule (Qwen3-Next), per head: S = S exp(g); S += k (beta (v - S^T k))^T; o = scale S^T q.
/// q, k [s, t, heads, d_k], v [s, t, heads, d_v], g and beta [s, t, heads], state [s, heads, d_k, d_v].
/// o [s, t, heads, d_v], then the last states.
struct DeltaShape {
  int64_t sequences = 1, tokens = 1, heads = 1, d_k = 1, d_v = 1;
  double scale = 1;
};
Expected gated_delta_net(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                         std::span<const float> g, std::span<const float> beta, std::span<const float> state,
                         const DeltaShape& shape);

}  // namespace greta::oracle
