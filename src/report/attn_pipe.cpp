#include "report/attn_pipe.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "io/json_fields.h"

namespace greta {
namespace {

/// Layer 0 of one cell and phase.
class LayerZero {
 public:
  LayerZero(std::span<const Event> events, const Bundle& bundle, const std::string& cell,
            const std::string& phase)
      : events_(events), bundle_(bundle), cell_(cell), phase_(phase) {}

  const Event* find(Stage stage) const {
    for (const Event& event : events_) {
      if (event.layer == 0 && event.stage == name(stage) && event.cell == cell_ && event.phase == phase_) {
        return &event;
      }
    }
    return nullptr;
  }

  /// `width` values from the start of row `row` (from the end: 1 is the last), or nothing.
  std::vector<float> row(Stage stage, int64_t row_from_end, int64_t width) const {
    const Event* event = find(stage);
    const std::vector<float>* data = event == nullptr ? nullptr : bundle_.data(*event);
    if (data == nullptr || event->shape.empty()) return {};
    const int64_t row_size = event->shape.back();
    const auto begin = static_cast<int64_t>(data->size()) - row_from_end * row_size;
    if (begin < 0 || row_size == 0) return {};
    const auto first = data->begin() + begin;
    return {first, first + std::min(width, row_size)};
  }

  std::vector<float> last_row(Stage stage, int64_t width = std::numeric_limits<int64_t>::max()) const {
    return row(stage, 1, width);
  }

  std::string route(Stage stage) const {
    const Event* event = find(stage);
    return event == nullptr ? "" : event->route;
  }

 private:
  std::span<const Event> events_;
  const Bundle& bundle_;
  const std::string& cell_;
  const std::string& phase_;
};

/// Heads of the model: those of qk, or what the manifest says; 1 when neither is there.
int64_t head_count(const LayerZero& layer, const Bundle& bundle) {
  const Event* qk = layer.find(Stage::qk);
  if (qk != nullptr && qk->shape.size() == 3 && qk->shape[1] > 0) return qk->shape[1];
  const auto model = bundle.manifest.find("model");
  if (model == bundle.manifest.end() || !model->is_object()) return 1;
  return Fields(*model, bundle.path + "/manifest.json: model").integer_or("n_head", 1, 1'000'000, 1);
}

void read_force(const Bundle& bundle, const std::string& experiment, AttnPipe& pipe) {
  const auto experiments = bundle.manifest.find("experiments");
  if (experiments == bundle.manifest.end()) return;
  for (const nlohmann::json& entry : *experiments) {
    const Fields fields(entry, bundle.path + "/manifest.json: experiments");
    if (fields.text("name") != experiment) continue;
    pipe.force_route = fields.text_or("force_route", "auto");
    pipe.force_gemm = fields.boolean_or("force_gemm", false);
  }
}

std::string list(const std::vector<float>& values) {
  std::string text = "[";
  for (const float value : values) {
    if (text.size() > 1) text += ',';
    if (std::isfinite(value)) {
      fmt::format_to(std::back_inserter(text), "{}", value);  // shortest form that reads back to the same f32
    } else {
      text += "null";
    }
  }
  return text + "]";
}

}  // namespace

std::string_view b3_31_route_used(std::string_view route) {
  if (route == "matrix") return "MFMA";
  if (route == "vector") return "VALU";
  return route;
}

std::string_view b3_31_route_forced(std::string_view route) {
  if (route == "matrix") return "mfma";
  if (route == "vector") return "valu";
  return route;
}

AttnPipe attn_pipe_from(std::span<const Event> events, const Bundle& bundle, const std::string& cell,
                        const std::string& phase, bool with_norm) {
  const LayerZero layer(events, bundle, cell, phase);
  const Event* q = layer.find(Stage::q);
  if (q == nullptr || bundle.data(*q) == nullptr || q->shape.empty()) {
    fail_input("{}: no data of layer 0's q in cell {}, phase {}; record them with --tensors all", bundle.path,
               cell, phase);
  }
  const int64_t heads = head_count(layer, bundle);
  const int64_t head_dim = q->shape.back() / heads;

  AttnPipe pipe;
  pipe.phase = phase;
  pipe.prompt_id = q->prompt_id;
  pipe.q = layer.last_row(Stage::q, head_dim);
  pipe.k = layer.last_row(Stage::k, head_dim);
  pipe.v = layer.last_row(Stage::v, head_dim);
  const int64_t all = std::numeric_limits<int64_t>::max();
  pipe.qk = layer.row(Stage::qk, heads, all);  // the last position's first head
  pipe.softmax = layer.row(Stage::softmax, heads, all);
  pipe.pv = layer.last_row(Stage::pv, head_dim);
  pipe.attn_out = layer.last_row(Stage::attn_out);
  pipe.with_norm = with_norm;
  if (with_norm) {
    pipe.attn_norm_in = layer.last_row(Stage::x_in);
    pipe.attn_norm_out = layer.last_row(Stage::attn_norm);
  }
  pipe.q_route = layer.route(Stage::q);
  pipe.k_route = layer.route(Stage::k);
  pipe.v_route = layer.route(Stage::v);
  read_force(bundle, q->experiment, pipe);
  pipe.pos_id = q->positions.back();
  pipe.seq_len_used = pipe.qk.empty() ? pipe.pos_id + 1 : static_cast<int64_t>(pipe.qk.size());
  return pipe;
}

std::string attn_pipe_line(const AttnPipe& pipe) {
  std::string line = fmt::format(R"({{"event":"attn_l0_pipe","phase":{},"prompt_id":{})",
                                 dump_json(pipe.phase), dump_json(pipe.prompt_id));
  const auto add_list = [&line](std::string_view name, const std::vector<float>& values) {
    fmt::format_to(std::back_inserter(line), ",\"{}\":{}", name, list(values));
  };
  const auto add_text = [&line](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(line), ",\"{}\":{}", name, dump_json(std::string(value)));
  };
  if (pipe.with_norm) {
    add_list("attn_norm_in", pipe.attn_norm_in);
    add_list("attn_norm_out", pipe.attn_norm_out);
  }
  add_list("q", pipe.q);
  add_list("k", pipe.k);
  add_list("v", pipe.v);
  add_list("qk", pipe.qk);
  add_list("softmax", pipe.softmax);
  add_list("pv", pipe.pv);
  add_list("attn_out", pipe.attn_out);
  add_text("q_route_used", b3_31_route_used(pipe.q_route));
  add_text("k_route_used", b3_31_route_used(pipe.k_route));
  add_text("v_route_used", b3_31_route_used(pipe.v_route));
  add_text("qkv_force_route", b3_31_route_forced(pipe.force_route));
  fmt::format_to(std::back_inserter(line), ",\"qkv_force_gemm\":{},\"pos_id\":{},\"seq_len_used\":{}}}",
                 pipe.force_gemm, pipe.pos_id, pipe.seq_len_used);
  return line;
}

}  // namespace greta
