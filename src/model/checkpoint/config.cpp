#include "model/checkpoint/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "io/json_fields.h"
#include "model/gguf_cursor.h"
#include "model/hyperparameters.h"

namespace greta {
namespace {

using nlohmann::json;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr int64_t kMostHeadDim = 1 << 16;

/// The object under `name`, or an empty one.
json object_at(const json& of, const char* name) {
  const auto found = of.find(name);
  return found != of.end() && found->is_object() ? *found : json::object();
}

/// What absence says, too.
bool says_nothing(const json& value) {
  return value.is_null() || value == json(false) || value == json(0) ||
         (value.is_structured() && value.empty());
}

/// Reads one config.json into the keys of one architecture.
class ConfigReader {
 public:
  ConfigReader(const json& config, const std::string& where, const CheckpointKind& kind,
               MetadataBuilder& metadata)
      : config_(config), fields_(config, where), where_(where), kind_(kind), metadata_(metadata) {}

  CheckpointConfig read() {
    refuse();
    metadata_.set_text("general.architecture", std::string(kind_.architecture));
    const bool is_latent = find_architecture(kind_.architecture)->latent;
    for (const ConfigKey& row : common_keys()) {
      const std::string_view name = row.name;
      if (!is_latent || (name != "head_dim" && name != "num_key_value_heads")) copy(row);
    }
    for (const ConfigKey& row : kind_.keys) copy(row);
    result_.n_head = fields_.integer("num_attention_heads", 1, kMost);
    result_.n_embd = fields_.integer("hidden_size", 1, kMost);
    result_.n_head_kv = fields_.integer_or("num_key_value_heads", 1, kMost, result_.n_head);
    result_.head_dim = fields_.integer_or("head_dim", 1, kMostHeadDim, result_.n_embd / result_.n_head);
    if (result_.head_dim < 1 || result_.head_dim > kMostHeadDim)
      fields_.fail("num_attention_heads",
                   fmt::format("is {}, of hidden_size {}", result_.n_head, result_.n_embd));
    if (is_latent) latent();
    result_.tied = fields_.boolean_or("tie_word_embeddings", kind_.tied);
    rope();
    layers();
    window();
    return result_;
  }

 private:
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", kind_.architecture, suffix); }
  void set_count(std::string_view suffix, int64_t value) {
    metadata_.set(key(suffix), static_cast<uint64_t>(value));
  }
  void set_number(std::string_view suffix, double value) {
    metadata_.set(key(suffix), static_cast<double>(static_cast<float>(value)));
  }

  void copy(const ConfigKey& row) {
    if (row.kind == ConfigKey::Kind::flag)  // transformers takes an absent one for false
      return metadata_.set(key(row.key), fields_.boolean_or(row.name, false));
    if (row.not_null && config_.contains(row.name) && config_[row.name].is_null())
      fields_.fail(row.name, fmt::format("is null; of a {} model GRETA takes a number", kind_.model_type));
    if (!fields_.has(row.name)) return;  // who needs it says so
    if (row.kind == ConfigKey::Kind::count) {
      set_count(row.key, fields_.integer(row.name, 1, kMost));
    } else {
      set_number(row.key, *fields_.number(row.name));
    }
  }

  void refuse() const {
    const auto reads = [&](std::string_view name) {
      return std::ranges::any_of(kind_.keys, [&](const ConfigKey& row) { return row.name == name; });
    };
    for (const RefusedField& field : refused_fields()) {
      const auto found = config_.find(field.name);
      if (found == config_.end() || says_nothing(*found) || reads(field.name) ||
          *found == json(field.harmless))
        continue;
      fields_.fail(field.name,
                   fmt::format("is {}; not supported yet: {}", excerpt(dump_json(*found)), field.feature));
    }
    if (reads("num_experts") && fields_.integer_or("decoder_sparse_step", 0, kMost, 1) != 1)
      fields_.fail("decoder_sparse_step",
                   "is not 1; not supported yet: dense layers among those with experts");
    for (const char* name : {"hidden_act", "hidden_activation"}) {
      const std::string activation = fields_.text_or(name, std::string(kind_.activation));
      if (activation != kind_.activation)
        fields_.fail(name, fmt::format("is \"{}\"; of a {} model GRETA computes {}", excerpt(activation),
                                       kind_.model_type, kind_.activation));
    }
    const auto scalar = fields_.number("query_pre_attn_scalar");
    if (!scalar) return;
    const double heads = static_cast<double>(fields_.integer("num_attention_heads", 1, kMost));
    const double width = static_cast<double>(fields_.integer("hidden_size", 1, kMost));
    const bool by_width = fields_.integer("num_hidden_layers", 1, kMost) ==
                          find_architecture(kind_.architecture)->width_scaled_layers;
    const double expected = by_width ? width / heads : fields_.number("head_dim").value_or(width / heads);
    if (*scalar != expected)
      fields_.fail("query_pre_attn_scalar", fmt::format("is {}; of a {} model of this size GRETA takes {}",
                                                        *scalar, kind_.model_type, expected));
  }

  /// transformers 5 says it in rope_parameters, of Gemma 3 a kind of layer at a time; before that rope_theta,
  /// rope_scaling and rope_local_base_freq did.
  void rope() {
    json parameters = object_at(config_, "rope_parameters");
    const json local = object_at(parameters, "sliding_attention");
    if (parameters.contains("full_attention")) parameters = object_at(parameters, "full_attention");
    const json scaling = parameters.empty() ? object_at(config_, "rope_scaling") : parameters;
    const Fields rope(parameters, where_ + ": rope_parameters"), scaled(scaling, where_ + ": RoPE's scaling");
    const double base =
        rope.number("rope_theta").value_or(fields_.number("rope_theta").value_or(kind_.rope_base));
    set_number("rope.freq_base", base);
    const auto local_base =
        Fields(local, where_ + ": rope_parameters.sliding_attention").number("rope_theta");
    const auto local_freq = local_base ? local_base : fields_.number("rope_local_base_freq");
    if (local_freq) set_number("rope.freq_base_swa", *local_freq);

    const double part =
        rope.number("partial_rotary_factor").value_or(fields_.number("partial_rotary_factor").value_or(1));
    if (!(part > 0 && part <= 1)) fields_.fail("partial_rotary_factor", "must be above 0, up to 1");
    const auto dims = static_cast<int64_t>(part * static_cast<double>(result_.head_dim));
    set_count("rope.dimension_count", dims);

    const std::string type = scaled.text_or("rope_type", scaled.text_or("type", "default"));
    if (type == "default") return;
    if (type == "llama3") {
      Llama3Rope of;
      of.factor = scaled.number("factor").value_or(of.factor);
      of.low = scaled.number("low_freq_factor").value_or(of.low);
      of.high = scaled.number("high_freq_factor").value_or(of.high);
      of.original = scaled.number("original_max_position_embeddings").value_or(of.original);
      if (!(of.high > of.low && of.low > 0 && of.factor > 0))
        fields_.fail("rope_scaling", "needs factor > 0 and high_freq_factor > low_freq_factor > 0");
      result_.rope_factors = llama3_factors(base, dims, of);
      return;
    }
    if (type == "longrope" || type == "su") return long_rope(scaled, dims);
    metadata_.set_text(key("rope.scaling.type"), type);
    if (const auto factor = scaled.number("factor")) set_number("rope.scaling.factor", *factor);
    if (type == "yarn") yarn(scaled);
  }

  /// MLA in GGUF's words: one key and value for all heads.
  void latent() {
    const int64_t rank = fields_.integer("kv_lora_rank", 1, kMostHeadDim);
    const int64_t rope = fields_.integer("qk_rope_head_dim", 1, kMostHeadDim);
    const int64_t rest = fields_.integer("qk_nope_head_dim", 1, kMostHeadDim);
    result_.head_dim = rope;
    result_.nope_dim = rest;
    result_.out_dim = fields_.integer("v_head_dim", 1, kMostHeadDim);
    result_.mtp_from = fields_.integer("num_hidden_layers", 1, kMost);
    set_count("attention.head_count_kv", 1);
    set_count("attention.key_length", rank + rope);
    set_count("attention.key_length_mla", rest + rope);
    set_count("leading_dense_block_count", fields_.integer_or("first_k_dense_replace", 0, kMost, 0));
    set_count("expert_gating_func", kind_.sigmoid ? 2 : 1);
    if (!fields_.boolean_or("rope_interleave", true))
      fields_.fail("rope_interleave",
                   "is false; GRETA computes RoPE of pairs (2i, 2i + 1) in latent attention");
    const std::string usual = kind_.sigmoid ? "noaux_tc" : "greedy",
                      scores = kind_.sigmoid ? "sigmoid" : "softmax";
    const std::string method = fields_.text_or("topk_method", usual);
    const bool by_groups = method == (kind_.sigmoid ? "noaux_tc" : "group_limited_greedy");
    if (!by_groups && method != usual)
      fields_.fail("topk_method",
                   fmt::format("is \"{}\"; of a {} model GRETA computes {}{}", excerpt(method),
                               kind_.model_type, kind_.sigmoid ? "" : "group_limited_greedy, ", usual));
    if (fields_.text_or("scoring_func", scores) != scores)
      fields_.fail("scoring_func", fmt::format("is not \"{}\", as in a {} model", scores, kind_.model_type));
    if (!by_groups || !fields_.has("n_group")) return;
    set_count("expert_group_count", fields_.integer("n_group", 1, kMost));
    set_count("expert_group_used_count", fields_.integer("topk_group", 1, kMost));
  }

  /// Phi 3's first files say su. The factor of cosines and sines as transformers has it
  /// (modeling_rope_utils.py, _compute_longrope_parameters).
  void long_rope(const Fields& scaled, int64_t dims) {
    metadata_.set_text(key("rope.scaling.type"), "longrope");
    const char* name = "original_max_position_embeddings";
    const int64_t original =
        scaled.has(name) ? scaled.integer(name, 2, kMost) : fields_.integer(name, 2, kMost);
    set_count("rope.scaling.original_context_length", original);
    result_.long_factors = factors(scaled, "long_factor", dims);
    result_.short_factors = factors(scaled, "short_factor", dims);
    const double longest = static_cast<double>(fields_.integer("max_position_embeddings", 1, kMost));
    const double factor = scaled.number("factor").value_or(longest / static_cast<double>(original));
    const double usual =
        factor > 1 ? std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))) : 1;
    set_number("rope.scaling.attn_factor", scaled.number("attention_factor").value_or(usual));
  }

  /// A number for each rotated pair.
  static std::vector<float> factors(const Fields& scaled, const char* name, int64_t dims) {
    std::vector<float> all;
    for (const double value : scaled.numbers(name)) all.push_back(static_cast<float>(value));
    if (std::ssize(all) != dims / 2)
      scaled.fail(name, fmt::format("has {} numbers; a head has {} rotated pairs", all.size(), dims / 2));
    return all;
  }

  /// YaRN's numbers by GGUF's names; transformers' attention_factor is the whole of what GGUF's multiplies.
  void yarn(const Fields& scaled) {
    const auto original = scaled.number("original_max_position_embeddings");
    set_count(
        "rope.scaling.original_context_length",
        original ? static_cast<int64_t>(*original) : fields_.integer("max_position_embeddings", 1, kMost));
    for (const auto& [name, suffix] : {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"),
                                       std::pair("beta_slow", "rope.scaling.yarn_beta_slow")}) {
      if (const auto beta = scaled.number(name)) set_number(suffix, *beta);
    }
    const bool whole = find_architecture(kind_.architecture)->yarn_whole_borders;
    if (scaled.boolean_or("truncate", true) != whole)
      scaled.fail("truncate", fmt::format("must be {} in a {} model", whole, kind_.model_type));
    metadata_.set(key(kYarnTruncate), whole);
    const auto magnitude = scaled.number("attention_factor");
    const double factor = scaled.number("factor").value_or(1);
    const auto stretch = [factor](double by) { return factor > 1 ? 0.1 * by * std::log(factor) + 1 : 1; };
    const double all = scaled.number("mscale_all_dim").value_or(0), one = scaled.number("mscale").value_or(0);
    if (find_architecture(kind_.architecture)->latent && all != 0) {
      // Of the scores, then: transformers' yarn_apply_mscale().
      set_number("rope.scaling.yarn_log_multiplier", 0.1 * all);
      const double ratio = one != 0 ? stretch(one) / stretch(all) : stretch(1);
      set_number("rope.scaling.attn_factor", magnitude.value_or(ratio));
      return;
    }
    if (all != 0 || (one != 0 && !find_architecture(kind_.architecture)->latent))
      scaled.fail("mscale", "is not supported yet: YaRN with another magnitude");
    if (magnitude) set_number("rope.scaling.attn_factor", *magnitude / stretch(1));
  }

  /// Which layers are local, and which have no RoPE, where a list says so.
  void layers() {
    const int64_t n_layer = fields_.integer_or("num_hidden_layers", 1, kMost, 0);
    const auto listed = [&](const char* name) -> const json* {
      const auto found = config_.find(name);
      if (found == config_.end() || found->is_null()) return nullptr;
      if (!found->is_array() || found->size() != static_cast<size_t>(n_layer))
        fields_.fail(name, fmt::format("must be a list of {} entries, one a layer", n_layer));
      return &*found;
    };
    const Architecture& architecture = *find_architecture(kind_.architecture);
    if (const json* types = listed("layer_types")) {
      std::vector<bool> local;
      for (const json& type : *types) {
        if (type != "sliding_attention" && type != "full_attention")
          fields_.fail("layer_types",
                       fmt::format("has {}; GRETA computes sliding_attention and full_attention",
                                   excerpt(dump_json(type))));
        local.push_back(type == "sliding_attention");
      }
      local_ = std::ranges::count(local, true);
      if (architecture.global_every > 0) metadata_.set_flags(key("attention.sliding_window_pattern"), local);
    } else if (architecture.global_every > 0 && fields_.has("sliding_window_pattern")) {
      set_count("attention.sliding_window_pattern", fields_.integer("sliding_window_pattern", 1, kMost));
    }
    if (const json* rope = listed("no_rope_layers")) {
      for (size_t n = 0; n < rope->size(); ++n) {
        const bool has = (*rope)[n] == json(1);
        const auto every = static_cast<size_t>(architecture.no_rope_every);
        if (has == (every > 0 && (n + 1) % every == 0))
          fields_.fail("no_rope_layers",
                       fmt::format("has another order than every {}th layer of {} (layer {})", every,
                                   kind_.model_type, n));
      }
    }
  }

  /// Where some layers have a window and others not, the architecture has to know which.
  void window() {
    if (!fields_.has("sliding_window") || !fields_.boolean_or("use_sliding_window", true)) return;
    const int64_t window = fields_.integer("sliding_window", 1, kMost);
    const Windowed windowed = find_architecture(kind_.architecture)->windowed;
    if (windowed != Windowed::local && local_ == 0) return;
    const int64_t n_layer = fields_.integer_or("num_hidden_layers", 1, kMost, 0);
    if (windowed == Windowed::all && local_ && *local_ != n_layer)
      fields_.fail("layer_types",
                   fmt::format("gives {} of {} layers a window; of a {} model GRETA computes all "
                               "or none so",
                               *local_, n_layer, kind_.model_type));
    set_count("attention.sliding_window", window);
  }

  const json& config_;
  const Fields fields_;
  const std::string& where_;
  const CheckpointKind& kind_;
  MetadataBuilder& metadata_;
  CheckpointConfig result_;
  std::optional<int64_t> local_;  // layers that are said to have a window
};

/// Older checkpoints of compressed-tensors call it compression_config.
json quantisation_of(const json& config) {
  for (const char* name : {"quantization_config", "compression_config"}) {
    if (json found = object_at(config, name); !found.empty()) return found;
  }
  return nullptr;
}

/// Of a type that is not known: sizes. How its norms multiply nobody knows, so their epsilon is left out.
CheckpointConfig sizes_of_unknown(const json& config, const std::string& where, const std::string& type,
                                  MetadataBuilder& metadata) {
  const Fields fields(config, where);
  metadata.set_text("general.architecture", type);
  for (const ConfigKey& row : common_keys()) {
    const auto found = config.find(row.name);
    if (row.kind == ConfigKey::Kind::count && found != config.end() && found->is_number_unsigned())
      metadata.set(fmt::format("{}.{}", type, row.key),
                   static_cast<uint64_t>(fields.integer(row.name, 1, kMost)));
  }
  CheckpointConfig result;
  result.architecture = &common_architecture();
  result.quantisation = quantisation_of(config);
  return result;
}

/// The text model of a multimodal one.
json text_config(const json& config, const std::string& where) {
  const std::string type = Fields(config, where).text_or("model_type", "");
  const json text = object_at(config, "text_config");
  if (text.empty()) return config;
  json merged = text;
  if (!merged.contains("model_type")) merged["model_type"] = type + "_text";
  for (const char* name : {"tie_word_embeddings", "quantization_config", "compression_config"}) {
    if (config.contains(name) && !merged.contains(name)) merged[name] = config[name];
  }
  return merged;
}

}  // namespace

std::vector<float> llama3_factors(double base, int64_t dims, const Llama3Rope& rope) {
  std::vector<float> factors;
  const auto original = static_cast<float>(rope.original);
  const auto low = static_cast<float>(rope.low), high = static_cast<float>(rope.high);
  const auto factor = static_cast<float>(rope.factor);
  for (int64_t i = 0; i < dims; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dims);
    const float frequency = 1.0f / std::pow(static_cast<float>(base), exponent);
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < original / high) {
      factors.push_back(1);
    } else if (wavelength > original / low) {
      factors.push_back(factor);
    } else {
      const float smooth = (original / wavelength - low) / (high - low);
      factors.push_back(1 / ((1 - smooth) / factor + smooth));
    }
  }
  return factors;
}

CheckpointConfig read_checkpoint_config(const json& whole, const std::string& where,
                                        MetadataBuilder& metadata) {
  if (!whole.is_object()) fail_input("{}: expected a JSON object, found {}", where, whole.type_name());
  const json config = text_config(whole, where);
  const Fields fields(config, where);
  const std::string type = fields.text("model_type");
  const CheckpointKind* kind = find_checkpoint_kind(type);
  if (kind == nullptr) return sizes_of_unknown(config, where, type, metadata);
  CheckpointConfig result = ConfigReader(config, where, *kind, metadata).read();
  result.kind = kind;
  result.architecture = find_architecture(kind->architecture);
  result.quantisation = quantisation_of(config);
  return result;
}

}  // namespace greta
