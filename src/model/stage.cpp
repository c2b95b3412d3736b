#include "model/stage.h"

#include <vector>

namespace greta {
namespace {

struct StageInfo {
  std::string_view name;
  bool projection;
  std::vector<Stage> inputs;
};

const std::array<StageInfo, kStageCount>& table() {
  using enum Stage;
  static const std::array<StageInfo, kStageCount> stages{{
      {"x_in", false, {}},
      {"attn_norm", false, {x_in}},
      {"q", true, {attn_norm}},
      {"k", true, {attn_norm}},
      {"v", true, {attn_norm}},
      {"q_norm", false, {q}},
      {"k_norm", false, {k}},
      {"q_rope", false, {q, q_norm}},
      {"k_rope", false, {k, k_norm}},
      {"kv_write", false, {k_rope, v}},
      {"qk", false, {q_rope, kv_write}},
      {"softmax", false, {qk}},
      {"pv", false, {softmax, kv_write}},
      {"attn_out", true, {pv}},
      {"x_attn", false, {x_in, attn_out}},
      {"ffn_norm", false, {x_attn}},
      {"gate", true, {ffn_norm}},
      {"up", true, {ffn_norm}},
      {"act", false, {gate, up}},
      {"down", true, {act}},
      {"x_out", false, {x_attn, down}},
      {"final_norm", false, {x_out}},
      {"logits", true, {final_norm}},
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

bool is_projection(Stage stage) { return table()[static_cast<size_t>(stage)].projection; }

}  // namespace greta
