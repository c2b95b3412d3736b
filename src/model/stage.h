#pragma once
// The named points of the forward pass, in execution order: one list for plans, traces, diagnosis and
// reports.

#include <array>
#include <optional>
#include <span>
#include <string_view>

namespace greta {

enum class Stage {
  x_in,       // residual stream entering the layer                     [S, n_embd]
  attn_norm,  // norm of x_in                                           [S, n_embd]
  q,          // projections, before RoPE                               [S, n_head * head_dim]
  k,          //                                                        [S, n_head_kv * head_dim]
  v,          //                                                        [S, n_head_kv * head_dim]
  q_norm,     // per-head norms, where the model has them
  k_norm,
  q_rope,
  k_rope,
  kv_write,    // the layer's cache as attention will read it: keys, then values, [2 * n_pos, n_head_kv *
               // head_dim]
  qk,          // scaled scores, masked ones -inf                        [S, n_head, n_pos]
  softmax,     // weights of the positions                               [S, n_head, n_pos]
  pv,          // concatenated head outputs                              [S, n_head * head_dim]
  attn_out,    // after Wo                                               [S, n_embd]
  x_attn,      // x_in + attn_out                                        [S, n_embd]
  ffn_norm,    // norm of x_attn                                         [S, n_embd]
  gate,        //                                                        [S, n_ff]
  up,          //                                                        [S, n_ff]
  act,         // silu(gate) * up: the input of the down projection      [S, n_ff]
  down,        //                                                        [S, n_embd]
  x_out,       // x_attn + down                                          [S, n_embd]
  final_norm,  // layer -1                                               [S, n_embd]
  logits,      // layer -1                                               [S, n_vocab]
};

inline constexpr int kStageCount = static_cast<int>(Stage::logits) + 1;

/// `layer` of stages outside the layers (final_norm, logits).
inline constexpr int kNoLayer = -1;

/// The name used in JSON, options and reports.
std::string_view name(Stage stage);

std::optional<Stage> stage_from_name(std::string_view name);

/// The stages whose outputs this stage computes from, within one layer. x_in has none here: it is the
/// previous layer's x_out, or the embedding. A model without q_norm / k_norm passes q and k through.
std::span<const Stage> inputs_of(Stage stage);

/// True for stages that belong to no layer.
constexpr bool is_outside_layers(Stage stage) { return stage >= Stage::final_norm; }

/// True for projections: a weight matrix times activations, the stages that --route can steer.
bool is_projection(Stage stage);

}  // namespace greta
