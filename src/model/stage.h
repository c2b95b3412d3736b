#pragma once
// The named points of the forward pass, in execution order:
// one list for plans, traces, diagnosis and reports.

#include <array>
#include <optional>
#include <span>
#include <string_view>

namespace greta {

enum class Stage {
  x_in,            // [S, n_embd]                   residual stream entering the layer
  attn_norm,       // [S, n_embd]                   norm of x_in
  q,               // [S, n_head * head_dim]        projections of attn_norm, before RoPE
  k,               // [S, n_head_kv * head_dim]
  v,               // [S, n_head_kv * head_dim]
  q_norm,          // [S, n_head * head_dim]        per-head norms, where the model has them
  k_norm,          // [S, n_head_kv * head_dim]
  q_rope,          // [S, n_head * head_dim]        q_norm and k_norm, rotated
  k_rope,          // [S, n_head_kv * head_dim]
  kv_write,        // [n_pos, 2 * n_head_kv * head_dim]: the layer's cache as attention will read it
  qk,              // [S, n_head, n_pos]            scaled scores, masked ones -inf
  softmax,         // [S, n_head, n_pos]            weights of the positions
  pv,              // [S, n_head * head_dim]        concatenated head outputs
  attn_out,        // [S, n_embd]                   after Wo
  attn_post_norm,  // [S, n_embd]                   norm of attn_out, where the model has it
  x_attn,          // [S, n_embd]                   x_in + attn_post_norm
  ffn_norm,        // [S, n_embd]                   norm of x_attn
  gate,            // [S, n_ff]
  up,              // [S, n_ff]
  act,             // [S, n_ff]                     silu or gelu(gate) * up: input of the down projection
  down,            // [S, n_embd]
  ffn_post_norm,   // [S, n_embd]                   norm of down, where the model has it
  x_out,           // [S, n_embd]                   x_attn + ffn_post_norm
  final_norm,      // [S, n_embd]                   layer -1
  logits,          // [S, n_vocab]                  layer -1
};

inline constexpr int kStageCount = static_cast<int>(Stage::logits) + 1;

/// `layer` of stages outside the layers (final_norm, logits).
inline constexpr int kNoLayer = -1;

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
