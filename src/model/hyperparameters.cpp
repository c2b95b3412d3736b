#include "model/hyperparameters.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "model/gguf_cursor.h"
#include "model/gguf_metadata.h"
#include "model/half_known.h"

namespace greta {
namespace {

// Far above every real model, far below what would overflow a product of two.
constexpr uint64_t kMostLayers = 4096;
constexpr uint64_t kMostHeads = 1 << 16;
constexpr uint64_t kMostHeadDim = 1 << 16;
constexpr uint64_t kMostWidth = 1 << 24;
constexpr uint64_t kMostExperts = 1 << 16;
constexpr uint64_t kMostTokens = std::numeric_limits<int32_t>::max();  // token ids and positions are int32
constexpr int64_t kDefaultContext = 2048;
constexpr double kDefaultRopeBase = 10000;
constexpr std::string_view kAttentionFactor = "rope.scaling.attn_factor";  // of YaRN and LongRoPE

constexpr std::string_view kLogMultiplier = "rope.scaling.yarn_log_multiplier";

/// Reads the keys of one architecture in one file.
class Keys {
 public:
  Keys(const ModelFile& file, std::string_view prefix) : file_(file), prefix_(prefix) {}

  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", prefix_, suffix); }

  /// An integer from 1 to `max`.
  std::optional<int64_t> find_count(std::string_view suffix, uint64_t max) const {
    const std::string full = key(suffix);
    const auto value = file_.find_uint(full, max);
    if (!value) return std::nullopt;
    if (*value == 0) fail_input("{}: {} is 0; it must be from 1 to {}", file_.path(), full, max);
    return static_cast<int64_t>(*value);
  }

  int64_t count(std::string_view suffix, uint64_t max) const {
    return required(find_count(suffix, max), suffix);
  }

  /// The same, where some models give a list with a number for each layer: all must be equal.
  std::optional<int64_t> find_count_of_layers(std::string_view suffix, uint64_t max, int64_t n_layer) const {
    const std::string full = key(suffix);
    const GgufValue* value = file_.find(full);
    const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(value);
    if (array == nullptr) return find_count(suffix, max);
    if (array->count != static_cast<uint64_t>(n_layer)) {
      fail_input("{}: {} has {} numbers for {} layers", file_.path(), full, array->count, n_layer);
    }
    const auto numbers = *file_.find_ints(full);
    if (std::any_of(numbers.begin(), numbers.end(), [&](int64_t n) { return n != numbers.front(); })) {
      fail_not_known("{}: {} differs between layers, which is not supported yet", file_.path(), full);
    }
    if (numbers.front() < 1 || static_cast<uint64_t>(numbers.front()) > max) {
      fail_input("{}: {} is {}; it must be from 1 to {}", file_.path(), full, numbers.front(), max);
    }
    return numbers.front();
  }

  int64_t count_of_layers(std::string_view suffix, uint64_t max, int64_t n_layer) const {
    return required(find_count_of_layers(suffix, max, n_layer), suffix);
  }

  /// A float that is finite and above 0, also once it is rounded to f32.
  std::optional<double> find_positive(std::string_view suffix) const {
    const std::string full = key(suffix);
    const auto value = file_.find_float(full);
    if (!value) return std::nullopt;
    const bool fits =
        *value >= std::numeric_limits<float>::min() && *value <= std::numeric_limits<float>::max();
    if (!fits) fail_input("{}: {} is {}; it must be a finite f32 above 0", file_.path(), full, *value);
    return value;
  }

  double positive(std::string_view suffix) const { return required(find_positive(suffix), suffix); }

 private:
  template <class T>
  T required(std::optional<T> value, std::string_view suffix) const {
    if (!value) fail_input("{}: the metadata key {} is missing", file_.path(), key(suffix));
    return *value;
  }

  const ModelFile& file_;
  std::string_view prefix_;
};

std::string model_name(const ModelFile& file) {
  const auto name = file.find_string("general.name");
  if (name && !name->empty()) return excerpt(*name);
  return std::filesystem::path(file.path()).filename().string();
}

/// Of MLA: llama.cpp's converter has the widths of its absorbed form as key_length and value_length, those of
/// the heads that it stands for as key_length_mla and value_length_mla.
void read_latent(const ModelFile& file, const Keys& keys, ModelConfig& config) {
  LatentAttention& latent = config.latent;
  latent.kv_rank = keys.count("attention.kv_lora_rank", kMostHeadDim);
  latent.q_rank = keys.find_count("attention.q_lora_rank", kMostWidth).value_or(0);
  latent.out = keys.count("attention.value_length_mla", kMostHeadDim);
  latent.nope = keys.count("attention.key_length_mla", kMostHeadDim) - config.rope_dims;
  if (latent.nope < 1)
    fail_input("{}: {} is {}; it must be more than the {} of {}", file.path(),
               keys.key("attention.key_length_mla"), latent.nope + config.rope_dims, config.rope_dims,
               keys.key("rope.dimension_count"));
  const auto demand = [&](std::string_view suffix, int64_t is, int64_t must) {
    if (is != must)
      fail_input("{}: {} is {}; in a model with latent attention (MLA) of these ranks it must be {}",
                 file.path(), keys.key(suffix), is, must);
  };
  demand("attention.head_count_kv", config.n_head_kv, 1);
  demand("attention.key_length", config.head_dim, latent.kv_rank + config.rope_dims);
  demand("attention.value_length", keys.count("attention.value_length", kMostHeadDim), latent.kv_rank);
}

void read_heads(const ModelFile& file, const Keys& keys, bool latent, ModelConfig& config) {
  config.n_head = keys.count_of_layers("attention.head_count", kMostHeads, config.n_layer);
  config.n_head_kv = keys.find_count_of_layers("attention.head_count_kv", kMostHeads, config.n_layer)
                         .value_or(config.n_head);
  if (config.n_head % config.n_head_kv != 0) {
    fail_input("{}: {} is {}, which does not divide {}, {}", file.path(), keys.key("attention.head_count_kv"),
               config.n_head_kv, keys.key("attention.head_count"), config.n_head);
  }
  const auto key_length = keys.find_count("attention.key_length", kMostHeadDim);
  if (!key_length && config.n_embd % config.n_head != 0) {
    fail_input("{}: {} is {}, which does not divide {}, {}", file.path(), keys.key("attention.head_count"),
               config.n_head, keys.key("embedding_length"), config.n_embd);
  }
  config.head_dim = key_length.value_or(config.n_embd / config.n_head);
  const auto value_length = keys.find_count("attention.value_length", kMostHeadDim);
  if (!latent && value_length && *value_length != config.head_dim) {
    fail_not_known("{}: {} is {}, but keys have {} dims; different lengths are not supported yet",
                   file.path(), keys.key("attention.value_length"), *value_length, config.head_dim);
  }
}

/// The value as a number, a bool as 0 or 1; nullopt when the key is absent.
std::optional<double> find_number(const ModelFile& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* u = std::get_if<uint64_t>(value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(value)) return *d;
  if (const auto* b = std::get_if<bool>(value)) return *b ? 1.0 : 0.0;
  fail_input("{}: {} is {}; expected a number", file.path(), key, kind(*value));
}

/// The first layers, which have no experts.
void read_dense_layers(const ModelFile& file, const Keys& keys, ModelConfig& config) {
  const std::string key = keys.key("leading_dense_block_count");
  config.n_dense_layers = static_cast<int64_t>(file.find_uint(key, kMostLayers).value_or(0));
  if (config.n_dense_layers > config.n_layer)
    fail_input("{}: {} is {}, of {} layers", file.path(), key, config.n_dense_layers, config.n_layer);
  if (config.n_dense_layers > 0)
    config.n_ff_dense = keys.count_of_layers("feed_forward_length", kMostWidth, config.n_layer);
}

/// DeepSeek's ways to choose (llama.cpp's deepseek2.cpp and build_moe_ffn(); of groups that are chosen by
/// probabilities of a softmax the best counts, as transformers' DeepseekV2TopkRouter has it).
void read_choice(const ModelFile& file, const Keys& keys, ModelConfig& config) {
  constexpr double kSoftmax = 1, kSigmoid = 2;
  const double function = find_number(file, keys.key("expert_gating_func")).value_or(kSoftmax);
  if (function != kSoftmax && function != kSigmoid && function != 0)
    fail_not_known(
        "{}: {} is {}; not supported yet: a choice of experts by another function than softmax or "
        "sigmoid",
        file.path(), keys.key("expert_gating_func"), function);
  ExpertChoice& choice = config.choice;
  choice.by_sigmoid = function == kSigmoid;
  choice.scale = keys.find_positive("expert_weights_scale").value_or(1);
  choice.groups = keys.find_count("expert_group_count", kMostExperts).value_or(1);
  choice.groups_used = keys.find_count("expert_group_used_count", kMostExperts).value_or(choice.groups);
  choice.group_best = choice.by_sigmoid ? 2 : 1;
  const int64_t in_group = config.n_expert / choice.groups;
  const bool fits = choice.groups_used <= choice.groups && in_group * choice.groups == config.n_expert &&
                    choice.groups_used * in_group >= config.n_expert_used;
  if (!fits || (choice.groups > 1 && in_group < choice.group_best))
    fail_input("{}: {} experts in {} groups, of which {} are used, do not give {} chosen ones", file.path(),
               config.n_expert, choice.groups, choice.groups_used, config.n_expert_used);
}

/// The sizes of feed-forward parts, and how experts are chosen. Facts: llama.cpp's src/models and
/// llama-graph.cpp.
void read_ffn(const ModelFile& file, const Keys& keys, const Architecture& architecture,
              ModelConfig& config) {
  const auto length = [&](std::string_view suffix) {
    return keys.find_count_of_layers(suffix, kMostWidth, config.n_layer);
  };
  config.n_expert = static_cast<int64_t>(file.find_uint(keys.key("expert_count"), kMostExperts).value_or(0));
  if (config.n_expert == 0 && architecture.ffn.empty()) keys.count("expert_count", kMostExperts);
  if (config.n_expert == 0) {
    config.n_ff = config.n_ff_dense = keys.count_of_layers("feed_forward_length", kMostWidth, config.n_layer);
    return;
  }
  if (architecture.latent) read_dense_layers(file, keys, config);
  config.n_expert_used = keys.count("expert_used_count", kMostExperts);
  if (config.n_expert_used > config.n_expert) {
    fail_input("{}: {} is {}, more than the {} of {}", file.path(), keys.key("expert_used_count"),
               config.n_expert_used, config.n_expert, keys.key("expert_count"));
  }
  const auto own = length("expert_feed_forward_length");
  config.n_ff_expert = own ? *own : keys.count_of_layers("feed_forward_length", kMostWidth, config.n_layer);
  const auto shared = keys.find_count("expert_shared_count", kMostExperts);
  config.n_ff = architecture.latent
                    ? config.n_ff_expert * shared.value_or(1)
                    : length("expert_shared_feed_forward_length")
                          .value_or(length("feed_forward_length").value_or(config.n_ff_expert));
  if (architecture.latent) read_choice(file, keys, config);
  config.experts_sum_to_1 =
      find_number(file, keys.key("expert_weights_norm")).value_or(architecture.experts_sum_to_1 ? 1 : 0) != 0;
}

void read_rope(const ModelFile& file, const Keys& keys, const Architecture& architecture,
               ModelConfig& config) {
  config.rope_adjacent = architecture.rope_adjacent;
  config.rope_base = keys.find_positive("rope.freq_base").value_or(kDefaultRopeBase);
  config.rope_dims = keys.find_count("rope.dimension_count", kMostHeadDim).value_or(config.head_dim);
  if (config.rope_dims % 2 != 0 || config.rope_dims > config.head_dim) {
    fail_input("{}: {} is {}; it must be even and at most the {} dims of a head", file.path(),
               keys.key("rope.dimension_count"), config.rope_dims, config.head_dim);
  }
}

int64_t read_vocabulary(const ModelFile& file, const Keys& keys) {
  const Tensor* table = file.find_tensor("token_embd.weight");
  if (table == nullptr) fail_input("{}: the tensor token_embd.weight is missing", file.path());
  const uint64_t rows = table->dims[1];
  if (rows > kMostTokens) {
    fail_input("{}: token_embd.weight has {} rows; at most {} are supported", file.path(), rows, kMostTokens);
  }
  // Tables are padded to a round number of rows: some have no token.
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  const auto claimed = file.find_uint(keys.key("vocab_size"), std::numeric_limits<uint64_t>::max());
  if (claimed && *claimed != rows && (tokens == nullptr || *claimed != tokens->count)) {
    fail_input("{}: {} is {}, but token_embd.weight has {} rows", file.path(), keys.key("vocab_size"),
               *claimed, rows);
  }
  if (tokens != nullptr && tokens->count > rows) {
    fail_input("{}: tokenizer.ggml.tokens has {} tokens, but token_embd.weight has {} rows", file.path(),
               tokens->count, rows);
  }
  return static_cast<int64_t>(rows);
}

/// phi3's files have the tables and no word of the type.
bool has_long_rope(const ModelFile& file, const Keys& keys) {
  return file.find_string(keys.key("rope.scaling.type")) == "longrope" ||
         file.find_tensor("rope_factors_long.weight") != nullptr;
}

/// What RoPE is scaled by, into a layer's numbers.
/// YaRN's keys as llama.cpp reads them (llama-context.cpp): the magnitude is 0.1 ln(factor) + 1, times
/// rope.scaling.attn_factor.
LayerConfig read_rope_scaling(const ModelFile& file, const Keys& keys, const Architecture& architecture,
                              int64_t n_ctx) {
  LayerConfig scaled;
  const std::string type_key = keys.key("rope.scaling.type");
  const auto type = file.find_string(type_key);
  if (type && *type == "none") return scaled;
  if (has_long_rope(file, keys)) {
    scaled.rope_magnitude = keys.find_positive(kAttentionFactor).value_or(1);
    return scaled;
  }
  if (type && *type == "yarn") {
    scaled.yarn.factor = keys.positive("rope.scaling.factor");
    scaled.yarn.original = static_cast<double>(
        keys.find_count("rope.scaling.original_context_length", kMostTokens).value_or(n_ctx));
    scaled.yarn.beta_fast = keys.find_positive("rope.scaling.yarn_beta_fast").value_or(32);
    scaled.yarn.beta_slow = keys.find_positive("rope.scaling.yarn_beta_slow").value_or(1);
    scaled.yarn.whole_borders = architecture.yarn_whole_borders;
    const double usual = scaled.yarn.factor > 1 ? 0.1 * std::log(scaled.yarn.factor) + 1 : 1;
    // DeepSeek's scores have it instead: read_scales().
    const bool in_scores = architecture.latent && keys.find_positive(kLogMultiplier);
    scaled.rope_magnitude = (in_scores ? 1 : usual) * keys.find_positive(kAttentionFactor).value_or(1);
    return scaled;
  }
  if (type && *type != "linear") {
    fail_not_known(
        "{}: {} is '{}': of RoPE scalings, linear, yarn, longrope and llama3 (rope_freqs.weight) are "
        "supported",
        file.path(), type_key, excerpt(*type));
  }
  const std::string factor_key = keys.key("rope.scaling.factor");
  const auto factor = find_number(file, factor_key);
  // Without a type, a factor means linear scaling; 0 means none.
  if (!factor || (*factor == 0 && !type)) return scaled;
  scaled.rope_scale = 1 / keys.positive("rope.scaling.factor");
  return scaled;
}

int64_t read_window(const ModelFile& file, const Keys& keys, Windowed windowed, uint64_t n_ctx) {
  const std::string key = keys.key("attention.sliding_window");
  const auto window = file.find_uint(key, std::numeric_limits<int64_t>::max());
  if (windowed == Windowed::local && !window)
    fail_input("{}: the metadata key {} is missing", file.path(), key);
  if (!window || *window == 0) return 0;
  if (windowed == Windowed::none && *window < n_ctx) {
    fail_not_known("{}: {} is {}, shorter than the context of {}: a sliding window is not supported yet",
                   file.path(), key, *window, n_ctx);
  }
  return static_cast<int64_t>(*window);
}

constexpr std::string_view kPattern = "attention.sliding_window_pattern";

/// Whether each layer keeps to the window: n for all but the layers n, 2n, ... (0: all), or a bool for each.
std::vector<bool> local_layers(const ModelFile& file, const Keys& keys, const Architecture& architecture,
                               int64_t n_layer) {
  std::vector<bool> local(static_cast<size_t>(n_layer));
  if (architecture.global_every == 0) return local;
  const std::string key = keys.key(kPattern);
  const GgufValue* value = file.find(key);
  if (const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(value)) {
    const auto type = static_cast<GgufType>(array->element_type);
    const bool is_number =
        type != GgufType::string && type != GgufType::array && type != GgufType::f32 && type != GgufType::f64;
    if (!is_number || array->count != local.size()) {
      fail_input("{}: {} is an array of {} {}; expected a bool or a number for each of {} layers",
                 file.path(), key, array->count, name(type), n_layer);
    }
    const size_t size = scalar_size(type);
    for (size_t n = 0; n < local.size(); ++n) {
      const auto bytes = array->bytes.subspan(n * size, size);
      local[n] = std::ranges::any_of(bytes, [](std::byte b) { return b != std::byte{0}; });
    }
    return local;
  }
  const auto every =
      file.find_uint(key, kMostLayers).value_or(static_cast<uint64_t>(architecture.global_every));
  for (size_t n = 0; n < local.size(); ++n) local[n] = every == 0 || (n + 1) % every != 0;
  return local;
}

void read_layers(const ModelFile& file, const Keys& keys, const Architecture& architecture,
                 ModelConfig& config) {
  const auto is_each = [](int every, int64_t n) { return every > 0 && (n + 1) % every == 0; };
  const LayerConfig scaled = read_rope_scaling(file, keys, architecture, config.n_ctx);
  const int64_t window = read_window(file, keys, architecture.windowed, static_cast<uint64_t>(config.n_ctx));
  if (has_long_rope(file, keys))
    config.rope_original = keys.count("rope.scaling.original_context_length", kMostTokens);
  const bool apart = architecture.local_rope_base > 0;
  const double local_base = keys.find_positive("rope.freq_base_swa")
                                .value_or(apart ? architecture.local_rope_base : config.rope_base);
  const std::vector<bool> locals = local_layers(file, keys, architecture, config.n_layer);
  for (int64_t n = 0; n < config.n_layer; ++n) {
    const bool local = locals[static_cast<size_t>(n)];
    LayerConfig& layer = config.layers.emplace_back(local && apart ? LayerConfig{} : scaled);
    layer.rope_base = local ? local_base : config.rope_base;
    if (local || architecture.windowed == Windowed::all) layer.window = window;
    if (is_each(architecture.no_rope_every, n)) {
      for (const StageInfo& row : kStageTable) {
        if (row.kind == StageKind::rope) layer.lacks.set(static_cast<size_t>(row.stage));
      }
    }
  }
}

void read_scales(const Keys& keys, const Architecture& architecture, ModelConfig& config) {
  const bool by_width = config.n_layer == architecture.width_scaled_layers;
  const double dims = by_width ? static_cast<double>(config.n_embd) / static_cast<double>(config.n_head)
                               : static_cast<double>(config.query_dim());
  config.attention_scale = 1 / std::sqrt(dims);
  if (architecture.latent) {
    const double stretch =
        1 + keys.find_positive(kLogMultiplier).value_or(0) * std::log(config.layers.front().yarn.factor);
    config.attention_scale *= stretch * stretch;
  }
  if (architecture.embedding_scaled) config.embedding_scale = std::sqrt(static_cast<double>(config.n_embd));
  config.score_cap = architecture.score_cap;
  config.logit_cap = architecture.logit_cap;
  for (const NumberKey& number : architecture.number_keys) {
    if (const auto value = keys.find_positive(number.key)) config.*number.slot = *value;
  }
}

void refuse_other_kinds_of_file(const ModelFile& file) {
  const auto type = file.find_string("general.type");
  if (type && *type != "model") {
    fail_input("{}: general.type is '{}'; expected a model", file.path(), excerpt(*type));
  }
}

/// Keys that models with latent attention have, and that are read.
constexpr std::string_view kReadOfLatent[] = {"expert_gating_func", "expert_weights_scale",
                                              "leading_dense_block_count", kLogMultiplier};

}  // namespace

ModelConfig read_config(const ModelFile& file, const Architecture& architecture) {
  const Keys keys(file, architecture.name);
  ModelConfig config;
  config.architecture = architecture.name;
  config.name = model_name(file);
  config.n_layer = keys.count("block_count", kMostLayers);
  config.n_embd = keys.count("embedding_length", kMostWidth);
  read_ffn(file, keys, architecture, config);
  read_heads(file, keys, architecture.latent, config);
  read_rope(file, keys, architecture, config);
  if (architecture.latent) read_latent(file, keys, config);
  config.norm_eps = keys.positive("attention.layer_norm_rms_epsilon");
  config.n_ctx = keys.find_count("context_length", kMostTokens).value_or(kDefaultContext);
  config.n_vocab = read_vocabulary(file, keys);
  config.activation = architecture.activation;
  read_layers(file, keys, architecture, config);
  read_scales(keys, architecture, config);
  return config;
}

void refuse_unsupported(const ModelFile& file, const Architecture& architecture) {
  refuse_other_kinds_of_file(file);
  const Keys keys(file, architecture.name);
  for (const RefusedKey& refused : refused_keys()) {
    const auto reads = [&](const NumberKey& number) { return number.key == refused.key; };
    if (std::any_of(architecture.number_keys.begin(), architecture.number_keys.end(), reads)) continue;
    if (refused.key == "expert_count" && !architecture.experts.empty()) continue;  // read_ffn() reads it
    if (architecture.latent && std::ranges::find(kReadOfLatent, refused.key) != std::end(kReadOfLatent))
      continue;
    if (refused.key == kPattern && architecture.global_every > 0) continue;  // local_layers() reads it
    if (refused.key == kAttentionFactor &&
        (file.find_string(keys.key("rope.scaling.type")) == "yarn" || has_long_rope(file, keys)))
      continue;
    const std::string key = keys.key(refused.key);
    const auto value = find_number(file, key);
    if (value && *value != refused.harmless) {
      fail_not_known("{}: {} is {}; not supported yet: {}", file.path(), key, *value, refused.feature);
    }
  }
}

}  // namespace greta
