#include "model/stage.h"

#include <vector>

namespace greta {
namespace {

/// What kind of op makes it; `plain` for what has no kind of its own.
enum class Kind { plain, projection, norm, rope };

struct StageInfo {
  std::string_view name;
  Kind kind;
  std::vector<Stage> inputs;
};

const std::array<StageInfo, kStageCount>& table() {
  using enum Stage;
  using enum Kind;
  static const std::array<StageInfo, kStageCount> stages{{
      {"x_in", plain, {}},
      {"attn_norm", norm, {x_in}},
      {"q", projection, {attn_norm}},
      {"k", projection, {attn_norm}},
      {"v", projection, {attn_norm}},
      {"q_norm", norm, {q}},
      {"k_norm", norm, {k}},
      {"q_rope", rope, {q_norm}},
      {"k_rope", rope, {k_norm}},
      {"kv_write", plain, {k_rope, v}},
      {"qk", plain, {q_rope, kv_write}},
      {"softmax", plain, {qk}},
      {"pv", plain, {softmax, kv_write}},
      {"attn_out", projection, {pv}},
      {"attn_post_norm", norm, {attn_out}},
      {"x_attn", plain, {x_in, attn_post_norm}},
      {"ffn_norm", norm, {x_attn}},
      {"gate", projection, {ffn_norm}},
      {"up", projection, {ffn_norm}},
      {"act", plain, {gate, up}},
      {"down", projection, {act}},
      {"ffn_post_norm", norm, {down}},
      {"x_out", plain, {x_attn, ffn_post_norm}},
      {"final_norm", norm, {x_out}},
      {"logits", projection, {final_norm}},
  }};
  return stages;
}

}  // namespace

std::string_view name(Stage stage) { return table()[static_cast<size_t>(stage)].name; }

std::optional<Stage> stage_from_name(std::string_view name) {
  for (int i = 0; i < kStageCount; ++i) {
    if (table()[static_cast<size_t>(i)].name == name) return static_cast<Stage>(i);
  }
  return std::nullopt;
}

std::span<const Stage> inputs_of(Stage stage) { return table()[static_cast<size_t>(stage)].inputs; }

bool is_optional(Stage stage) {
  const Kind kind = table()[static_cast<size_t>(stage)].kind;
  return kind == Kind::rope || (kind == Kind::norm && !is_outside_layers(stage));
}

bool is_norm_of_projection(Stage stage) { return is_norm(stage) && is_projection(inputs_of(stage).front()); }

bool is_norm(Stage stage) { return table()[static_cast<size_t>(stage)].kind == Kind::norm; }

bool is_projection(Stage stage) { return table()[static_cast<size_t>(stage)].kind == Kind::projection; }

}  // namespace greta
