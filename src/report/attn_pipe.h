#pragma once
// The JSONL of B3.31: layer 0's attention pipeline at head 0,
// one line per cell and phase, made from a bundle's events.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/bundle.h"

namespace greta {

/// One line. Arrays of a stage that the bundle does not hold are empty.
struct AttnPipe {
  std::string phase, prompt_id;
  std::vector<float> q, k, v;             // [head_dim] of head 0, before RoPE
  std::vector<float> qk, softmax;         // [n_pos] of head 0
  std::vector<float> pv;                  // [head_dim] of head 0
  std::vector<float> attn_out;            // [n_embd]: Wo mixes the heads, so the whole row
  bool with_norm = false;                 // GRETA_TRACE_ATTN_L0_NORM
  std::vector<float> attn_norm_in;        // [n_embd]: x_in
  std::vector<float> attn_norm_out;       // [n_embd]: attn_norm
  std::string q_route, k_route, v_route;  // as the ops wrote them: "matrix", "vector"
  std::string force_route = "auto";       // what was asked for: "auto", "vector", "matrix"
  bool force_gemm = false;
  int64_t pos_id = 0;
  int64_t seq_len_used = 0;
};

/// From the layer 0 events of one cell ("E0/p4_sys") and phase among `events` (of several rows, the last).
/// The bundle gives their data and what its manifest says of the experiment. An input Error when q was not
/// recorded there with data.
AttnPipe attn_pipe_from(std::span<const Event> events, const Bundle& bundle, const std::string& cell,
                        const std::string& phase, bool with_norm = false);

/// One line of JSON without its end. NaN and infinities are null.
std::string attn_pipe_line(const AttnPipe& pipe);

/// B3.31's words: "MFMA", "VALU" for what ran, "mfma", "valu" for what was asked for;
/// other words stay as they are.
std::string_view b3_31_route_used(std::string_view route);
std::string_view b3_31_route_forced(std::string_view route);

}  // namespace greta
