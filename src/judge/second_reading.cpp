#include "judge/second_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace greta {
namespace {

/// What the modelling files of transformers say of a family, and the GGUF files do not.
struct Family {
  std::string_view name;
  bool rotates_halves;  // (i, i + d/2), not (2i, 2i + 1): its converter leaves the rows of Wq, Wk as they are
  bool gelu = false;
  bool embedding_by_width = false;   // times sqrt(hidden_size)
  int64_t full_attention_every = 0;  // other layers have a window and rope_local_base_freq 10000
  bool window_in_all = false;
  int64_t no_rope_every = 0;
  bool norm_topk_prob = true;  // of the experts' weights
  // Of Gemma 2: local layers turn as all others; attn_logit_softcapping, final_logit_softcapping.
  bool one_rope_base = false;
  double attn_softcap = 0, final_softcap = 0;
  bool yarn_truncates = true;   // find_correction_range() rounds, rope_scaling's "truncate"
  bool clamped_swiglu = false;  // gate and up within +-7, and up + 1
  bool mla = false;             // kv_a_proj_with_mqa, kv_b_proj; experts after first_k_dense_replace layers
  int64_t by_width_layers = 0;  // query_pre_attn_scalar is hidden_size / heads in models of so many layers
};

constexpr Family kFamilies[] = {
    {.name = "llama", .rotates_halves = false, .window_in_all = true},
    {.name = "qwen2", .rotates_halves = true},
    {.name = "qwen3", .rotates_halves = true},
    {.name = "qwen2moe", .rotates_halves = true, .norm_topk_prob = false},
    {.name = "qwen3moe", .rotates_halves = true},
    {.name = "gemma3",
     .rotates_halves = true,
     .gelu = true,
     .embedding_by_width = true,
     .full_attention_every = 6,
     .by_width_layers = 62},
    {.name = "gemma2",
     .rotates_halves = true,
     .gelu = true,
     .embedding_by_width = true,
     .full_attention_every = 2,
     .one_rope_base = true,
     .attn_softcap = 50,
     .final_softcap = 30,
     .by_width_layers = 46},
    {.name = "gpt-oss",
     .rotates_halves = true,
     .full_attention_every = 2,
     .one_rope_base = true,
     .yarn_truncates = false,
     .clamped_swiglu = true},
    {.name = "deepseek2", .rotates_halves = false, .norm_topk_prob = false, .mla = true},
    {.name = "phi3", .rotates_halves = true, .window_in_all = true},
    {.name = "smollm3", .rotates_halves = false, .no_rope_every = 4},
    {.name = "olmo2", .rotates_halves = true},
    {.name = "granite", .rotates_halves = false},
};

/// A weight by its name in the file; of a fused one the part that begins after `skip` rows.
struct Named {
  Stage stage;
  std::string_view suffix;
  int64_t skip = 0;
};

std::optional<double> as_number(const GgufValue* value) {
  if (value == nullptr) return std::nullopt;
  if (const auto* u = std::get_if<uint64_t>(value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(value)) return *d;
  if (const auto* b = std::get_if<bool>(value)) return *b ? 1 : 0;
  return std::nullopt;
}

class Reading {
 public:
  Reading(const Model& model, const Family& family) : model_(model), config_(model.config), family_(family) {}

  std::vector<std::string> differences() {
    sizes();
    numbers();
    for (int64_t n = 0; n < config_.n_layer; ++n) {
      positions(static_cast<int>(n));
      weights(static_cast<int>(n));
    }
    whole_model();
    return std::move(differences_);
  }

 private:
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", family_.name, suffix); }

  /// The key's number; of a list the first.
  std::optional<double> find(std::string_view suffix) const {
    const std::string full = key(suffix);
    const GgufValue* value = model_.file.find(full);
    if (value != nullptr && std::holds_alternative<GgufArray>(*value)) {
      const auto numbers = model_.file.find_ints(full);
      return numbers && !numbers->empty() ? std::optional(static_cast<double>(numbers->front()))
                                          : std::nullopt;
    }
    return as_number(value);
  }

  double get(std::string_view suffix, double otherwise) const { return find(suffix).value_or(otherwise); }

  void compare(const std::string& what, double read, double again) {
    if (std::abs(read - again) <= 1e-9 * std::abs(again)) return;
    differences_.push_back(
        fmt::format("{} is {} in one reading of the file, {} in another", what, read, again));
  }

  void sizes() {
    const double heads = get("attention.head_count", 0);
    compare("block_count", static_cast<double>(config_.n_layer), get("block_count", 0));
    compare("embedding_length", static_cast<double>(config_.n_embd), get("embedding_length", 0));
    const double ff = get("feed_forward_length", 0), experts = get("expert_count", 0);
    const double of_shared = family_.mla
                                 ? get("expert_feed_forward_length", ff) * get("expert_shared_count", 1)
                                 : get("expert_shared_feed_forward_length", ff);
    compare("feed_forward_length", static_cast<double>(config_.n_ff), experts > 0 ? of_shared : ff);
    compare("expert_count", static_cast<double>(config_.n_expert), experts);
    if (experts > 0) {
      compare("expert_used_count", static_cast<double>(config_.n_expert_used), get("expert_used_count", 0));
      compare("expert_feed_forward_length", static_cast<double>(config_.n_ff_expert),
              get("expert_feed_forward_length", ff));
    }
    compare("attention.head_count", static_cast<double>(config_.n_head), heads);
    compare("attention.head_count_kv", static_cast<double>(config_.n_head_kv),
            get("attention.head_count_kv", heads));
    head_dim_ = get("attention.key_length", get("embedding_length", 0) / heads);
    compare("attention.key_length", static_cast<double>(config_.head_dim), head_dim_);
    if (family_.mla) latent();
    compare("rope.dimension_count", static_cast<double>(config_.rope_dims),
            get("rope.dimension_count", head_dim_));
  }

  void latent() {
    const LatentAttention& own = config_.latent;
    compare("attention.kv_lora_rank", static_cast<double>(own.kv_rank), get("attention.kv_lora_rank", 0));
    compare("attention.q_lora_rank", static_cast<double>(own.q_rank), get("attention.q_lora_rank", 0));
    head_dim_ = get("attention.key_length_mla", 0);  // what scores are scaled by
    compare("attention.key_length_mla", static_cast<double>(config_.query_dim()), head_dim_);
    compare("attention.value_length_mla", static_cast<double>(config_.out_dim()),
            get("attention.value_length_mla", 0));
    compare("leading_dense_block_count", static_cast<double>(config_.n_dense_layers),
            get("expert_count", 0) > 0 ? get("leading_dense_block_count", 0) : 0);
    compare("experts are chosen by sigmoids (1) or a softmax (0)", config_.choice.by_sigmoid,
            get("expert_gating_func", 1) == 2);
    compare("expert_weights_scale", config_.choice.scale, get("expert_weights_scale", 1));
    compare("expert_group_count", static_cast<double>(config_.choice.groups), get("expert_group_count", 1));
    compare("expert_group_used_count", static_cast<double>(config_.choice.groups_used),
            get("expert_group_used_count", get("expert_group_count", 1)));
  }

  void numbers() {
    const double width = get("embedding_length", 0);
    compare("attention.layer_norm_rms_epsilon", config_.norm_eps, get("attention.layer_norm_rms_epsilon", 0));
    // Gemma's 27B alone.
    const bool by_width =
        family_.by_width_layers > 0 && get("block_count", 0) == static_cast<double>(family_.by_width_layers);
    const double scaled_by = by_width ? width / get("attention.head_count", 1) : head_dim_;
    const bool granite = family_.name == "granite";
    const auto own = [&](std::string_view suffix, double otherwise) {
      return granite ? get(suffix, otherwise) : otherwise;
    };
    const double stretched =
        family_.mla ? 1 + get("rope.scaling.yarn_log_multiplier", 0) * std::log(get("rope.scaling.factor", 1))
                    : 1;
    compare("the scale of attention", config_.attention_scale,
            own("attention.scale", stretched * stretched / std::sqrt(scaled_by)));
    compare("the scale of the embedding", config_.embedding_scale,
            own("embedding_scale", family_.embedding_by_width ? std::sqrt(width) : 1));
    compare("the scale of the residuals", config_.residual_scale, own("residual_scale", 1));
    compare("the divisor of the logits", config_.logit_divisor, own("logit_scale", 1));
    const auto softcap = [&](std::string_view suffix, double usual) {
      return usual == 0 ? 0 : get(suffix, usual);
    };
    compare("the soft cap of scores", config_.score_cap,
            softcap("attn_logit_softcapping", family_.attn_softcap));
    compare("the soft cap of the logits", config_.logit_cap,
            softcap("final_logit_softcapping", family_.final_softcap));
    compare("RoPE turns halves (1) or neighbours (0)", config_.rope_adjacent ? 0 : 1, family_.rotates_halves);
    if (config_.n_expert > 0)
      compare("the experts' weights sum to 1 (1) or not (0)", config_.experts_sum_to_1,
              get("expert_weights_norm", family_.norm_topk_prob));
    compare("the activation is GELU (1) or SiLU (0)", config_.activation == Activation::gelu, family_.gelu);
    compare("the activation is clamped (1) or not (0)", config_.activation == Activation::swiglu_oai,
            family_.clamped_swiglu);
  }

  /// Whether the layer has a window and RoPE's local base, as a family with both kinds of layers says.
  bool is_local(int layer) const {
    if (family_.full_attention_every == 0) return false;
    const std::string full = key("attention.sliding_window_pattern");
    const GgufValue* value = model_.file.find(full);
    if (const auto* flags = value == nullptr ? nullptr : std::get_if<GgufArray>(value)) {
      const auto n = static_cast<uint64_t>(layer);
      if (n >= flags->count) return false;
      const uint64_t width = flags->bytes.size() / flags->count;  // numbers of any width; 0: not local
      const auto one = flags->bytes.subspan(n * width, width);
      return std::count(one.begin(), one.end(), std::byte{0}) != std::ssize(one);
    }
    const auto every =
        static_cast<int64_t>(as_number(value).value_or(static_cast<double>(family_.full_attention_every)));
    return every == 0 || (layer + 1) % every != 0;
  }

  void positions(int layer) {
    const LayerConfig& own = config_.layer(layer);
    const bool local = is_local(layer);
    const auto at = [&](std::string_view what) { return fmt::format("{} of layer {}", what, layer); };
    const double global_base = get("rope.freq_base", 10000);
    const double local_base = get("rope.freq_base_swa", family_.one_rope_base ? global_base : 10000);
    compare(at("RoPE's base"), own.rope_base, local ? local_base : global_base);
    const double window = get("attention.sliding_window", 0);
    compare(at("the window"), static_cast<double>(own.window), local || family_.window_in_all ? window : 0);
    const auto type = model_.file.find_string(key("rope.scaling.type"));
    const double factor = get("rope.scaling.factor", 1);
    const bool linear = (!local || family_.one_rope_base) && factor != 0 && (!type || *type == "linear");
    compare(at("the scale of positions"), own.rope_scale, linear ? 1 / factor : 1);
    const bool yarn = (!local || family_.one_rope_base) && type && *type == "yarn";
    compare(at("YaRN's factor"), own.yarn.factor, yarn ? factor : 1);
    if (yarn) {
      compare(at("YaRN's original context"), own.yarn.original,
              get("rope.scaling.original_context_length", get("context_length", 0)));
      compare(at("YaRN's beta_fast"), own.yarn.beta_fast, get("rope.scaling.yarn_beta_fast", 32));
      compare(at("YaRN's beta_slow"), own.yarn.beta_slow, get("rope.scaling.yarn_beta_slow", 1));
      compare(at("YaRN's borders are whole (1) or not (0)"), own.yarn.whole_borders, family_.yarn_truncates);
    }
    const bool in_scores = family_.mla && find("rope.scaling.yarn_log_multiplier");
    const double mscale = factor > 1 ? 1 + std::log(factor) / 10 : 1;
    const bool tables = model_.file.find_tensor("rope_factors_short.weight") != nullptr;
    compare(at("the length that RoPE gives"), own.rope_magnitude,
            (yarn && !in_scores ? mscale : 1) * (yarn || tables ? get("rope.scaling.attn_factor", 1) : 1));
    const bool lacks = family_.no_rope_every > 0 && (layer + 1) % family_.no_rope_every == 0;
    for (const Stage stage : {Stage::q_rope, Stage::k_rope})
      compare(at(name(stage)), has_stage(config_, {layer, stage}), !lacks);
  }

  void weights(int layer) {
    const int64_t q = config_.n_head * config_.head_dim, kv = config_.n_head_kv * config_.head_dim;
    const auto in_file = [&](std::string_view suffix) {
      return model_.file.find_tensor(fmt::format("blk.{}.{}.weight", layer, suffix));
    };
    const bool fused_qkv = in_file("attn_qkv") != nullptr, shared = in_file("ffn_gate_shexp") != nullptr;
    const bool fused_ffn = !shared && in_file("ffn_gate") == nullptr;
    const std::string_view qkv = "attn_qkv", mqa = "attn_kv_a_mqa";
    const bool one_norm = in_file("ffn_norm") == nullptr && in_file("post_ffw_norm") == nullptr;
    const Named named[] = {
        {Stage::attn_norm, "attn_norm"},
        {Stage::q_a, "attn_q_a"},
        {Stage::q_a_norm, "attn_q_a_norm"},
        {Stage::q, in_file("attn_q_b") != nullptr ? "attn_q_b"
                   : fused_qkv                    ? qkv
                                                  : "attn_q"},
        {Stage::k,
         family_.mla ? mqa
         : fused_qkv ? qkv
                     : "attn_k",
         family_.mla ? config_.latent.kv_rank
         : fused_qkv ? q
                     : 0},
        {Stage::v,
         family_.mla ? mqa
         : fused_qkv ? qkv
                     : "attn_v",
         fused_qkv ? q + kv : 0},
        {Stage::v_norm, "attn_kv_a_norm"},
        {Stage::q_absorbed, "attn_k_b"},
        {Stage::head_out, "attn_v_b"},
        {Stage::q_norm, "attn_q_norm"},
        {Stage::k_norm, "attn_k_norm"},
        {Stage::attn_out, "attn_output"},
        {Stage::softmax, "attn_sinks"},
        {Stage::attn_post_norm, one_norm ? "" : "post_attention_norm"},
        {Stage::ffn_norm, one_norm ? "post_attention_norm" : "ffn_norm"},
        {Stage::router, "ffn_gate_inp"},
        {Stage::expert_gate, "ffn_gate_exps"},
        {Stage::expert_up, "ffn_up_exps"},
        {Stage::expert_down, "ffn_down_exps"},
        {Stage::gate, shared      ? "ffn_gate_shexp"
                      : fused_ffn ? "ffn_up"
                                  : "ffn_gate"},
        {Stage::up, shared ? "ffn_up_shexp" : "ffn_up", fused_ffn ? config_.n_ff : 0},
        {Stage::down, shared ? "ffn_down_shexp" : "ffn_down"},
        {Stage::shared_gate, "ffn_gate_inp_shexp"},
        {Stage::ffn_post_norm, "post_ffw_norm"},
    };
    for (const Named& one : named)
      place(fmt::format("the weight of {} of layer {}", name(one.stage), layer),
            weight_of(model_, {one.stage, layer}), in_file(one.suffix), one.skip);
  }

  /// Whether the weight is where the file has it.
  void place(const std::string& what, const Tensor* used, const Tensor* in_file, int64_t skip) {
    if (used == nullptr && in_file == nullptr) return;
    const std::byte* begin = in_file == nullptr ? nullptr : in_file->data.data();
    if (in_file != nullptr && skip > 0) {
      const size_t row = in_file->data.size() / std::max<uint64_t>(in_file->dims[1], 1);
      begin += static_cast<size_t>(skip) * row;
    }
    if (used != nullptr && used->data.data() == begin) return;
    differences_.push_back(fmt::format("{} is {} in one reading of the file, {} in another", what,
                                       used == nullptr ? "absent" : used->name,
                                       in_file == nullptr ? "absent" : in_file->name));
  }

  void whole_model() {
    const ModelFile& file = model_.file;
    const Tensor* table = file.find_tensor("token_embd.weight");
    const Tensor* head = file.find_tensor("output.weight");
    place("the embedding", model_.token_embd, table, 0);
    place("the last norm's weight", model_.output_norm, file.find_tensor("output_norm.weight"), 0);
    place("the weight of logits", model_.output, head == nullptr ? table : head, 0);
  }

  const Model& model_;
  const ModelConfig& config_;
  const Family& family_;
  double head_dim_ = 0;
  std::vector<std::string> differences_;
};

}  // namespace

std::vector<std::string> readings_that_differ(const Model& model) {
  if (!model.not_known.empty()) return {};
  const auto architecture = model.file.find_string("general.architecture");
  const auto family = std::ranges::find(kFamilies, architecture.value_or(""), &Family::name);
  return family == std::end(kFamilies) ? std::vector<std::string>{} : Reading(model, *family).differences();
}

}  // namespace greta
