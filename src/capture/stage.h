#pragma once
// The stages of docs/trace-format.md that a graph of ggml is searched for, and where one stands.

#include <array>
#include <compare>
#include <string_view>

namespace greta::capture {

enum class Stage {
  x_in,
  attn_norm,
  q,
  k,
  v,
  q_norm,
  k_norm,
  q_rope,
  k_rope,
  kv_write,
  qk,
  softmax,
  pv,
  attn_out,
  attn_post_norm,
  x_attn,
  ffn_norm,
  gate,
  up,
  act,
  down,
  ffn_post_norm,
  x_out,
  final_norm,
  logits,
};

inline constexpr std::array<std::string_view, 25> kStageNames = {
    "x_in",           "attn_norm", "q",          "k",     "v",       "q_norm", "k_norm",
    "q_rope",         "k_rope",    "kv_write",   "qk",    "softmax", "pv",     "attn_out",
    "attn_post_norm", "x_attn",    "ffn_norm",   "gate",  "up",      "act",    "down",
    "ffn_post_norm",  "x_out",     "final_norm", "logits"};

constexpr std::string_view name(Stage stage) { return kStageNames[static_cast<size_t>(stage)]; }

inline constexpr int kNoLayer = -1;

struct Place {
  Stage stage;
  int layer;
  auto operator<=>(const Place&) const = default;
};

}  // namespace greta::capture
