#include "isolate/stage_oracle.h"

#include <fmt/format.h>

#include <cmath>

#include "numerics/noise.h"

namespace greta::isolate {
namespace {

Format format_from_name(const std::string& text) {
  for (const Format format : {Format::f16, Format::bf16, Format::q8_block32}) {
    if (text == name(format)) return format;
  }
  return Format::f32;
}

/// Keys and values of a recorded kv_write, [n_pos, 2 * kv_dim] -> two [n_pos, kv_dim].
struct Cache {
  std::vector<float> keys, values;
};

Cache split_cache(const std::vector<float>& rows, int64_t kv_dim) {
  Cache cache;
  const size_t row = static_cast<size_t>(2 * kv_dim);
  for (size_t at = 0; at + row <= rows.size(); at += row) {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(at);
    cache.keys.insert(cache.keys.end(), begin, begin + kv_dim);
    cache.values.insert(cache.values.end(), begin + kv_dim, begin + 2 * kv_dim);
  }
  return cache;
}

class StageOracle {
 public:
  StageOracle(const OracleContext& context, Stage stage, int layer, const StageVariant& variant)
      : context_(context),
        config_(context.model.config),
        variant_(variant),
        stage_(stage),
        layer_(layer),
        event_(*context.view.find(stage, layer)) {}

  std::optional<Expected> expected() {
    using enum Stage;
    // A bundle may come from anywhere: nothing in it is trusted to fit the model.
    const bool fits =
        is_outside_layers(stage_) ? layer_ == kNoLayer : layer_ >= 0 && layer_ < config_.n_layer;
    if (!fits) return missing(fmt::format("{} in layer {} of the model", name(stage_), layer_));
    if (position() < 0) return missing("its position");
    switch (stage_) {
      case x_in: return layer_ == 0 ? embed() : previous_x_out();
      case attn_norm: return norm(x_in, weights().attn_norm);
      case q: return matmul(attn_norm, weights().q);
      case k: return matmul(attn_norm, weights().k);
      case v: return matmul(attn_norm, weights().v);
      case q_norm:
      case k_norm: return missing("an oracle of this stage (no model of this build has it)");
      case q_rope: return rope(q, config_.n_head);
      case k_rope: return rope(k, config_.n_head_kv);
      case kv_write: return kv_write_row();
      case qk: return scores();
      case softmax: return softmax_row();
      case pv: return pv_row();
      case attn_out: return matmul(pv, weights().attn_out);
      case x_attn: return add(x_in, attn_out);
      case ffn_norm: return norm(x_attn, weights().ffn_norm);
      case gate: return matmul(ffn_norm, weights().gate);
      case up: return matmul(ffn_norm, weights().up);
      case act: return activation();
      case down: return matmul(act, weights().down);
      case x_out: return add(x_attn, down);
      case final_norm: return norm(x_out, context_.model.output_norm, last_layer());
      case logits: return matmul(final_norm, context_.model.output);
    }
    return std::nullopt;
  }

  const std::string& why() const { return why_; }

 private:
  const LayerWeights& weights() const { return context_.model.layers[static_cast<size_t>(layer_)]; }
  int last_layer() const { return static_cast<int>(config_.n_layer) - 1; }

  std::optional<Expected> missing(std::string what) {
    why_ = "missing: " + std::move(what);
    return std::nullopt;
  }

  int64_t position() const { return event_.positions.empty() ? -1 : event_.positions.back(); }

  /// The cache as it was recorded with this stage: [position + 1, 2 * kv_dim].
  const std::vector<float>* cache_rows() {
    return input(Stage::kv_write, layer_, (position() + 1) * 2 * kv_dim());
  }

  /// The data of an input, of the size that the model's shapes demand.
  const std::vector<float>* input(Stage stage, int layer, int64_t size) {
    const std::vector<float>* data = context_.view.data(stage, layer);
    if (data == nullptr) {
      missing(fmt::format("the data of {}, its input", name(stage)));
      return nullptr;
    }
    if (std::ssize(*data) != size) {
      missing(fmt::format("an input {} of {} values (it has {})", name(stage), size, data->size()));
      return nullptr;
    }
    return data;
  }

  std::optional<Expected> embed() {
    const size_t at = static_cast<size_t>(position());
    if (at >= context_.tokens.size()) return missing("the token at its position");
    const int32_t id = context_.tokens[at];
    return oracle::embed(*context_.model.token_embd, std::span(&id, 1));
  }

  std::optional<Expected> previous_x_out() {
    const std::vector<float>* x = input(Stage::x_out, layer_ - 1, config_.n_embd);
    if (x == nullptr)
      return missing("the x_out of the layer before it (trace that layer too, or start at layer 0)");
    return Expected{{x->begin(), x->end()}, std::vector<double>(x->size(), 0.0)};
  }

  std::optional<Expected> norm(Stage from, const GgufTensor* weight, int layer) {
    const std::vector<float>* x = input(from, layer, config_.n_embd);
    if (x == nullptr) return std::nullopt;
    if (variant_.weight != nullptr) weight = variant_.weight;
    return oracle::rms_norm(*x, *weight, variant_.eps.value_or(config_.norm_eps));
  }
  std::optional<Expected> norm(Stage from, const GgufTensor* weight) { return norm(from, weight, layer_); }

  std::optional<Expected> matmul(Stage from, const GgufTensor* weight) {
    if (variant_.weight != nullptr) weight = variant_.weight;
    const std::vector<float>* x = input(from, layer_, static_cast<int64_t>(weight->dims[0]));
    if (x == nullptr) return std::nullopt;
    return oracle::matmul(*weight, *x, 1, declared_roundings(context_.view.bundle().manifest, event_.kernel));
  }

  std::optional<Expected> rope(Stage from, int64_t heads) {
    const std::vector<float>* x = input(from, layer_, heads * config_.head_dim);
    if (x == nullptr) return std::nullopt;
    const oracle::RopeShape shape{heads, config_.head_dim, config_.rope_dims,
                                  variant_.rope_base.value_or(config_.rope_base), config_.rope_adjacent};
    return oracle::rope(*x, shape, position());
  }

  int64_t kv_dim() const { return config_.n_head_kv * config_.head_dim; }

  /// The row that this phase wrote is judged; the rows before it are inputs, and stay as they are.
  std::optional<Expected> kv_write_row() {
    const std::vector<float>* k = input(Stage::k_rope, layer_, kv_dim());
    const std::vector<float>* v = input(Stage::v, layer_, kv_dim());
    const std::vector<float>* rows = cache_rows();
    if (k == nullptr || v == nullptr || rows == nullptr) return std::nullopt;
    Expected expected{{rows->begin(), rows->end()}, std::vector<double>(rows->size(), 0.0)};
    const Expected row = oracle::kv_write(*k, *v, format_from_name(event_.dtype));
    const auto at = static_cast<std::ptrdiff_t>(expected.value.size() - row.value.size());
    std::copy(row.value.begin(), row.value.end(), expected.value.begin() + at);
    std::copy(row.bound.begin(), row.bound.end(), expected.bound.begin() + at);
    return expected;
  }

  oracle::AttentionShape attention() const {
    return {config_.n_head, config_.n_head_kv, config_.head_dim,
            1.0 / std::sqrt(static_cast<double>(config_.head_dim))};
  }

  std::optional<Expected> scores() {
    const std::vector<float>* q = input(Stage::q_rope, layer_, config_.n_head * config_.head_dim);
    const std::vector<float>* rows = cache_rows();
    if (q == nullptr || rows == nullptr) return std::nullopt;
    return oracle::qk(*q, split_cache(*rows, kv_dim()).keys, attention(), position());
  }

  std::optional<Expected> softmax_row() {
    const std::vector<float>* qk = input(Stage::qk, layer_, config_.n_head * (position() + 1));
    if (qk == nullptr) return std::nullopt;
    return oracle::softmax(*qk, position() + 1);
  }

  std::optional<Expected> pv_row() {
    const std::vector<float>* weights = input(Stage::softmax, layer_, config_.n_head * (position() + 1));
    const std::vector<float>* rows = cache_rows();
    if (weights == nullptr || rows == nullptr) return std::nullopt;
    return oracle::pv(*weights, split_cache(*rows, kv_dim()).values, attention(), position());
  }

  std::optional<Expected> add(Stage a, Stage b) {
    const std::vector<float>* left = input(a, layer_, config_.n_embd);
    const std::vector<float>* right = input(b, layer_, config_.n_embd);
    if (left == nullptr || right == nullptr) return std::nullopt;
    return oracle::add(*left, *right);
  }

  std::optional<Expected> activation() {
    const std::vector<float>* gate = input(Stage::gate, layer_, config_.n_ff);
    const std::vector<float>* up = input(Stage::up, layer_, config_.n_ff);
    if (gate == nullptr || up == nullptr) return std::nullopt;
    return oracle::silu_mul(*gate, *up);
  }

  const OracleContext& context_;
  const ModelConfig& config_;
  const StageVariant& variant_;
  Stage stage_;
  int layer_;
  const trace::Event& event_;
  std::string why_;
};

}  // namespace

Roundings declared_roundings(const nlohmann::json& manifest, const std::string& kernel) {
  Roundings roundings;
  if (!manifest.contains("kernels") || !manifest["kernels"].contains(kernel)) return roundings;
  const nlohmann::json& entry = manifest["kernels"][kernel];
  roundings.activation = format_from_name(entry.value("activation", "f32"));
  roundings.accumulator = format_from_name(entry.value("accumulator", "f32"));
  roundings.output = format_from_name(entry.value("output", "f32"));
  return roundings;
}

std::optional<Expected> expected_stage(const OracleContext& context, Stage stage, int layer,
                                       const StageVariant& variant, std::string* why) {
  const std::vector<float>* observed = context.view.data(stage, layer);
  if (observed == nullptr) {
    *why = "missing: the stage's own data";
    return std::nullopt;
  }
  StageOracle oracle(context, stage, layer, variant);
  std::optional<Expected> expected = oracle.expected();
  if (!expected) {
    *why = oracle.why();
  } else if (expected->value.size() != observed->size()) {
    *why = fmt::format("{} values where the model makes {}", observed->size(), expected->value.size());
    expected.reset();
  }
  return expected;
}

std::optional<Judgement> judge_stage(const OracleContext& context, Stage stage, int layer, std::string* why) {
  const std::optional<Expected> expected = expected_stage(context, stage, layer, {}, why);
  if (!expected) return std::nullopt;
  const NoiseRatio ratio = noise_ratio(*context.view.data(stage, layer), *expected);
  return Judgement{ratio.max, ratio.at};
}

}  // namespace greta::isolate
