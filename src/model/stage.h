#pragma once
// The named points of the forward pass, in execution order: one list for plans, traces, diagnosis and
// reports.

#include <array>
#include <compare>
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
  kv_write,        // the layer's cache as attention will read it: keys, then values, [2 * n_pos, n_head_kv *
                   // head_dim]
  qk,              // scaled scores, masked ones -inf                        [S, n_head, n_pos]
  softmax,         // weights of the positions                               [S, n_head, n_pos]
  pv,              // concatenated head outputs                              [S, n_head * head_dim]
  attn_out,        // after Wo                                               [S, n_embd]
  attn_post_norm,  // norm of attn_out, where the model has it          [S, n_embd]
  x_attn,          // x_in + attn_post_norm                                  [S, n_embd]
  ffn_norm,        // norm of x_attn                                         [S, n_embd]
  gate,            //                                                        [S, n_ff]
  up,              //                                                        [S, n_ff]
  act,             // silu or gelu(gate) * up: input of the down projection  [S, n_ff]
  down,            //                                                        [S, n_embd]
  ffn_post_norm,   // norm of down, where the model has it              [S, n_embd]
  x_out,           // x_attn + ffn_post_norm                                 [S, n_embd]
  final_norm,      // layer -1                                               [S, n_embd]
  logits,          // layer -1                                               [S, n_vocab]
};

inline constexpr int kStageCount = static_cast<int>(Stage::logits) + 1;

/// `layer` of stages outside the layers (final_norm, logits).
inline constexpr int kNoLayer = -1;

/// A place in the forward pass.
struct At {
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  auto operator<=>(const At&) const = default;
};

/// The name used in JSON, options and reports.
std::string_view name(Stage stage);

std::optional<Stage> stage_from_name(std::string_view name);

/// The stages whose outputs this stage computes from, within one layer that has all stages. x_in has none
/// here: it is the previous layer's x_out, or the embedding. A stage that a model lacks passes its first
/// input on (model/model.h resolves that).
std::span<const Stage> inputs_of(Stage stage);

/// True for stages that not every layer of every model has: norms and RoPE.
bool is_optional(Stage stage);

/// True for norms of what a projection made: few models have them.
bool is_norm_of_projection(Stage stage);

/// True for norms, the per-head ones and the final one included.
bool is_norm(Stage stage);

/// True for stages that belong to no layer.
constexpr bool is_outside_layers(Stage stage) { return stage >= Stage::final_norm; }

/// True for projections: a weight matrix times activations, the stages that --route can steer.
bool is_projection(Stage stage);

}  // namespace greta
