#pragma once
// The named points of the forward pass: one table for plans, traces, diagnosis and reports. Who must know
// what a stage is asks its row, or the kind of op that makes it, never its name.

#include <array>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace greta {

/// In execution order.
enum class Stage {
  x_in,            // [S, n_embd]                   residual stream entering the layer
  attn_norm,       // [S, n_embd]                   norm of x_in
  q_a,             // [S, q_rank]                   of MLA: what q is projected from
  q_a_norm,        // [S, q_rank]
  q,               // [S, n_head * head_dim]        projections of attn_norm, before RoPE
  k,               // [S, n_head_kv * head_dim]
  v,               // [S, n_head_kv * head_dim]
  q_norm,          // [S, n_head * head_dim]        per-head norms, where the model has them
  k_norm,          // [S, n_head_kv * head_dim]
  v_norm,          // [S, n_head_kv * head_dim]     of MLA: v is the latent
  q_rope,          // [S, n_head * head_dim]        q_norm and k_norm, rotated
  k_rope,          // [S, n_head_kv * head_dim]
  q_absorbed,      // [S, n_head * kv_rank]         of MLA: q's first part by each head's half of Wkv_b
  q_latent,        // [S, n_head * head_dim]        q_absorbed, then the rotated part of q_rope, a head
  k_latent,        // [S, n_head_kv * head_dim]     v_norm, then k_rope
  kv_write,        // [n_pos, 2 * n_head_kv * head_dim]: the layer's cache as attention will read it
  qk,              // [S, n_head, n_pos]            scaled scores, masked ones -inf
  softmax,         // [S, n_head, n_pos]            weights of the positions
  pv,              // [S, n_head * head_dim]        concatenated head outputs
  head_out,        // [S, n_head * v_dim]           of MLA: pv by the other half of Wkv_b
  attn_out,        // [S, n_embd]                   after Wo
  attn_post_norm,  // [S, n_embd]                   norm of attn_out, where the model has it
  x_attn,          // [S, n_embd]                   x_in + attn_post_norm
  ffn_norm,        // [S, n_embd]                   norm of x_attn
  router,          // [S, n_expert]                 scores of the experts, where the layer has some
  expert_probs,    // [S, n_expert]                 sigmoid of router, where experts are chosen by that
  experts,         // [S, n_used]                   the chosen ones, by number
  expert_weights,  // [S, n_used]                   what each one's output is multiplied with
  expert_gate,     // [S, n_used * n_ff_expert]     of the chosen experts, one after the other
  expert_up,       // [S, n_used * n_ff_expert]
  expert_act,      // [S, n_used * n_ff_expert]
  expert_down,     // [S, n_used * n_embd]
  experts_out,     // [S, n_embd]                   their weighted sum
  gate,            // [S, n_ff]                     of a dense layer, or of a shared expert
  up,              // [S, n_ff]
  act,             // [S, n_ff]                     silu or gelu(gate) * up: input of the down projection
  down,            // [S, n_embd]
  shared_gate,     // [S, 1]                        of a shared expert, where the model has it
  shared_out,      // [S, n_embd]                   sigmoid(shared_gate) * down
  ffn_out,         // [S, n_embd]                   shared_out + experts_out, where the layer has both
  ffn_post_norm,   // [S, n_embd]                   norm of ffn_out, where the model has it
  x_out,           // [S, n_embd]                   x_attn + ffn_post_norm
  final_norm,      // [S, n_embd]                   layer -1
  logits,          // [S, n_vocab]                  layer -1
};

inline constexpr int kStageCount = static_cast<int>(Stage::logits) + 1;

/// What an op computes. Oracles, hypotheses and advice ask for this: ops without a stage have it, too.
enum class StageKind {
  embedding,   // rows of a table, by token; of a later layer's x_in: the x_out before it, as it is
  norm,        // of a whole row
  head_norm,   // of the heads that a projection made
  projection,  // a weight matrix times a row: what --route can steer
  rope,
  cache,    // a row is a key and a value
  scores,   // q times the cached keys
  weights,  // softmax of scores
  mix,      // weights times the cached values
  product,  // activation of the first input, times the second
  sum,      // residual plus branch
  // Of multi-head latent attention (MLA):
  head_projection,  // each head's matrix times the first part of its slice of a row
  join,             // of each head: the second input's slice, then the end of the first's
  // Of a mixture of experts:
  expert_projection,  // a projection by the matrices of the chosen experts
  probabilities,      // sigmoid of each score
  choice,             // the experts with the highest scores
  choice_weights,     // softmax of the scores, of the chosen ones
  combination,        // weighted sum of what the chosen experts gave
  gated,              // sigmoid of the second input, times the first
};

/// Values in a row of each head, or in a row that has no heads.
enum class Width {
  embd,
  head_dim,   // of scores: of a cached key
  query_dim,  // these three differ from it in MLA only
  key_dim,
  value_dim,
  out_dim,  // of what Wo reads
  q_rank,   // of MLA's first projection of q
  ff,
  vocab,
  positions,
  all_experts,
  used,
  expert_ff,
  single
};

/// Whose heads make up a row; each chosen expert counts as one.
enum class Heads { none, q, kv, used };

/// What there is a row for.
enum class RowPer { token, token_head, cache };

/// Which of the model's factors multiplies the output (of a sum: the branch).
enum class Scale { none, embedding, residual, logits };

/// A few stages, in order.
class StageList {
 public:
  constexpr StageList(std::initializer_list<Stage> stages) : size_(stages.size()) {
    size_t at = 0;
    for (const Stage stage : stages) stages_[at++] = stage;
  }
  constexpr std::span<const Stage> span() const { return {stages_.data(), size_}; }

 private:
  std::array<Stage, 3> stages_ = {};
  size_t size_ = 0;
};

struct StageInfo {
  Stage stage;
  std::string_view name;  // in JSON, options and reports
  StageKind kind;
  StageList inputs;  // in a layer that has all stages; those of x_in: see operands_of()
  Width width;
  Heads heads = Heads::none;
  RowPer row_per = RowPer::token;
  Scale scale = Scale::none;
  std::string_view weight = {};  // what people call its weight; empty: by the stage's name
  StageList siblings = {};       // whose weights are easily taken for its own
};

/// The table. A new stage is a row here, an op of the plan and, for a new kind, an oracle.
inline constexpr std::array<StageInfo, kStageCount> kStageTable = [] {
  using enum Stage;
  using enum StageKind;
  using enum Width;
  constexpr Heads none = Heads::none, n_q = Heads::q, n_kv = Heads::kv, n_used = Heads::used;
  constexpr RowPer token = RowPer::token, by_head = RowPer::token_head;
  constexpr Scale one = Scale::none;
  // clang-format off
  return std::array<StageInfo, kStageCount>{{
      {x_in, "x_in", embedding, {}, embd, none, token, Scale::embedding, "the embedding"},
      {attn_norm, "attn_norm", norm, {x_in}, embd, none, token, one, "", {ffn_norm, attn_post_norm}},
      {q_a, "q_a", projection, {attn_norm}, q_rank, none, token, one, "Wq_a"},
      {q_a_norm, "q_a_norm", norm, {q_a}, q_rank, none, token, one, "", {v_norm}},
      {q, "q", projection, {q_a_norm}, query_dim, n_q, token, one, "Wq", {k, v, attn_out}},
      {k, "k", projection, {attn_norm}, key_dim, n_kv, token, one, "Wk", {q, v}},
      {v, "v", projection, {attn_norm}, value_dim, n_kv, token, one, "Wv", {q, k}},
      {q_norm, "q_norm", head_norm, {q}, query_dim, n_q, token, one, "", {k_norm}},
      {k_norm, "k_norm", head_norm, {k}, key_dim, n_kv, token, one, "", {q_norm}},
      {v_norm, "v_norm", head_norm, {v}, value_dim, n_kv, token, one, "", {q_a_norm}},
      {q_rope, "q_rope", rope, {q_norm}, query_dim, n_q},
      {k_rope, "k_rope", rope, {k_norm}, key_dim, n_kv},
      {q_absorbed, "q_absorbed", head_projection, {q_rope}, value_dim, n_q, token, one, "Wk_b", {head_out}},
      {q_latent, "q_latent", join, {q_rope, q_absorbed}, head_dim, n_q},
      {k_latent, "k_latent", join, {k_rope, v_norm}, head_dim, n_kv},
      {kv_write, "kv_write", cache, {k_latent, v_norm}, head_dim, n_kv, RowPer::cache},
      {qk, "qk", scores, {q_latent, kv_write}, positions, n_q, by_head},
      {softmax, "softmax", weights, {qk}, positions, n_q, by_head},
      {pv, "pv", mix, {softmax, kv_write}, head_dim, n_q},
      {head_out, "head_out", head_projection, {pv}, out_dim, n_q, token, one, "Wv_b", {q_absorbed}},
      {attn_out, "attn_out", projection, {head_out}, embd, none, token, one, "Wo", {q}},
      {attn_post_norm, "attn_post_norm", norm, {attn_out}, embd, none, token, one, "",
       {attn_norm, ffn_post_norm}},
      {x_attn, "x_attn", sum, {x_in, attn_post_norm}, embd, none, token, Scale::residual},
      {ffn_norm, "ffn_norm", norm, {x_attn}, embd, none, token, one, "", {attn_norm, ffn_post_norm}},
      {router, "router", projection, {ffn_norm}, all_experts, none, token, one, "Wrouter"},
      {expert_probs, "expert_probs", probabilities, {router}, all_experts},
      {experts, "experts", choice, {expert_probs}, used},
      {expert_weights, "expert_weights", choice_weights, {expert_probs, experts}, used},
      {expert_gate, "expert_gate", expert_projection, {ffn_norm, experts}, expert_ff, n_used, token, one,
       "the experts' Wgate", {expert_up}},
      {expert_up, "expert_up", expert_projection, {ffn_norm, experts}, expert_ff, n_used, token, one,
       "the experts' Wup", {expert_gate}},
      {expert_act, "expert_act", product, {expert_gate, expert_up}, expert_ff, n_used},
      {expert_down, "expert_down", expert_projection, {expert_act, experts}, embd, n_used, token, one,
       "the experts' Wdown"},
      {experts_out, "experts_out", combination, {expert_down, expert_weights}, embd},
      {gate, "gate", projection, {ffn_norm}, ff, none, token, one, "Wgate", {up}},
      {up, "up", projection, {ffn_norm}, ff, none, token, one, "Wup", {gate}},
      {act, "act", product, {gate, up}, ff},
      {down, "down", projection, {act}, embd, none, token, one, "Wdown"},
      {shared_gate, "shared_gate", projection, {ffn_norm}, single, none, token, one, "Wshared_gate"},
      {shared_out, "shared_out", gated, {down, shared_gate}, embd},
      {ffn_out, "ffn_out", sum, {shared_out, experts_out}, embd},
      {ffn_post_norm, "ffn_post_norm", norm, {ffn_out}, embd, none, token, one, "",
       {ffn_norm, attn_post_norm}},
      {x_out, "x_out", sum, {x_attn, ffn_post_norm}, embd, none, token, Scale::residual},
      {final_norm, "final_norm", norm, {x_out}, embd, none, token, one, "", {ffn_norm, attn_norm}},
      {logits, "logits", projection, {final_norm}, vocab, none, token, Scale::logits, "Woutput", {x_in}},
  }};
  // clang-format on
}();

static_assert(
    [] {
      for (size_t i = 0; i < kStageTable.size(); ++i) {
        if (static_cast<size_t>(kStageTable[i].stage) != i) return false;
        for (const Stage input : kStageTable[i].inputs.span()) {
          if (input >= kStageTable[i].stage) return false;
        }
      }
      return true;
    }(),
    "kStageTable stands in execution order, as Stage does, and a stage comes after its inputs");

constexpr const StageInfo& info(Stage stage) { return kStageTable[static_cast<size_t>(stage)]; }

constexpr std::string_view name(Stage stage) { return info(stage).name; }

std::optional<Stage> stage_from_name(std::string_view name);

/// The stages whose outputs this stage computes from, within one layer that has all stages.
constexpr std::span<const Stage> inputs_of(Stage stage) { return info(stage).inputs.span(); }

/// True for stages that belong to no layer.
constexpr bool is_outside_layers(Stage stage) { return stage >= Stage::final_norm; }

/// True for products by weight matrices, the experts' included.
constexpr bool is_projection(StageKind kind) {
  return kind == StageKind::projection || kind == StageKind::expert_projection ||
         kind == StageKind::head_projection;
}
constexpr bool is_projection(Stage stage) { return is_projection(info(stage).kind); }

/// True for norms, the per-head ones and the final one included.
constexpr bool is_norm(StageKind kind) { return kind == StageKind::norm || kind == StageKind::head_norm; }
constexpr bool is_norm(Stage stage) { return is_norm(info(stage).kind); }

/// True for the stages of a mixture of experts and of the expert that all tokens share, which dense layers
/// lack.
constexpr bool is_of_experts(Stage stage) {
  return (stage >= Stage::router && stage <= Stage::experts_out) ||
         (stage >= Stage::shared_gate && stage <= Stage::ffn_out);
}

/// True for the stages of latent attention (MLA) that other layers lack, but for its norms.
constexpr bool is_of_latent(Stage stage) {
  const StageKind kind = info(stage).kind;
  return stage == Stage::q_a || kind == StageKind::head_projection || kind == StageKind::join;
}

/// True for stages that not every layer of every model has: norms, RoPE, experts, MLA.
constexpr bool is_optional(Stage stage) {
  return info(stage).kind == StageKind::rope || is_of_experts(stage) || is_of_latent(stage) ||
         (is_norm(stage) && !is_outside_layers(stage));
}

/// True for norms of what a projection made: few models have them.
constexpr bool is_norm_of_projection(Stage stage) {
  if (!is_norm(stage)) return false;
  Stage from = inputs_of(stage).front();
  while (is_of_experts(from)) from = inputs_of(from).front();
  return is_projection(from);
}

/// True for stages that most models lack: where no model says so, they are there if they were recorded.
constexpr bool few_have(Stage stage) {
  return is_norm_of_projection(stage) || is_of_experts(stage) || is_of_latent(stage);
}

/// The first input; in the place of a stage that few models have between others, what it passes on.
constexpr Stage common_input(Stage stage) {
  const auto is_rare = [](Stage from) {
    return is_norm_of_projection(from) || is_of_latent(from) || info(from).kind == StageKind::probabilities;
  };
  Stage from = inputs_of(stage).front();
  while (is_rare(from)) from = inputs_of(from).front();
  return from;
}

/// True for a stage and for all that it is made from within its layer.
constexpr bool is_made_from(Stage stage, Stage source) {
  if (stage == source) return true;
  for (const Stage input : inputs_of(stage)) {
    if (is_made_from(input, source)) return true;
  }
  return false;
}

/// True if later tokens see a row of it through its layer's cache.
constexpr bool feeds_cache(Stage stage) { return is_made_from(Stage::kv_write, stage); }

/// True within the feed-forward branch, after its norm and before its sum.
constexpr bool is_inside_ffn(Stage stage) { return stage > Stage::ffn_norm && stage < Stage::x_out; }

/// True from the scores to the head outputs: one op, unless somebody looks.
constexpr bool is_inside_attention(Stage stage) {
  const StageKind kind = info(stage).kind;
  return kind == StageKind::scores || kind == StageKind::weights || kind == StageKind::mix;
}

/// `layer` of stages outside the layers (final_norm, logits).
inline constexpr int kNoLayer = -1;

/// A stage of a layer.
struct At {
  int layer = kNoLayer;
  Stage stage = Stage::x_in;

  bool operator==(const At&) const = default;
  /// Execution order: what is outside the layers comes last (as unsigned, kNoLayer is above all others).
  friend constexpr auto operator<=>(const At& a, const At& b) {
    return std::pair(static_cast<unsigned>(a.layer), a.stage) <=>
           std::pair(static_cast<unsigned>(b.layer), b.stage);
  }
};

/// Where the op of `at` finds a stage: in its own layer; after the layers, in the last of them.
constexpr At beside(At at, Stage stage, int n_layer) {
  const bool last = is_outside_layers(at.stage) && !is_outside_layers(stage);
  return {last ? n_layer - 1 : at.layer, stage};
}

/// What a stage is computed from, in a model of `n_layer` layers: of x_in the layer before's x_out, of
/// final_norm the last layer's; else stages of its own layer. One that `has` denies passes on the first of
/// its inputs that is there, else what its first input passes on. The first layer's x_in has no operand: it
/// is made from the tokens.
std::vector<At> operands_of(At at, int n_layer, const std::function<bool(At)>& has);

/// Which weight: of the op that makes `stage`. `part` counts the weights of one op (a dense model has one).
struct WeightAt {
  Stage stage;
  int layer = kNoLayer;
  int part = 0;
};

}  // namespace greta
