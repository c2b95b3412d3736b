#include "model/half_known.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "model/architecture.h"
#include "model/gguf_metadata.h"

namespace greta {
namespace {

constexpr uint64_t kMostKnownLayers = 4096, kMostKnownWidth = 1 << 24;

using LayerTensors = std::vector<std::span<const LayerTensor>>;

/// What is read of a file without trusting that it is of a known kind.
class Parts {
 public:
  explicit Parts(const ModelFile& file)
      : file_(file), prefix_(file.find_string("general.architecture").value_or("")) {}

  std::string_view architecture() const { return prefix_; }
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", prefix_, suffix); }

  /// A number from 1 to `max`, the first of a list of them; nullopt for anything else.
  std::optional<int64_t> count(std::string_view suffix, uint64_t max) const {
    const GgufValue* value = file_.find(key(suffix));
    if (value == nullptr) return std::nullopt;
    const auto* array = std::get_if<GgufArray>(value);
    const GgufValue first = array == nullptr ? *value : first_of(*array);
    uint64_t number = 0;
    if (const auto* whole = std::get_if<uint64_t>(&first)) number = *whole;
    if (const auto* whole = std::get_if<int64_t>(&first)) number = static_cast<uint64_t>(*whole);
    if (number < 1 || number > max) return std::nullopt;
    return static_cast<int64_t>(number);
  }

  int64_t needed(std::string_view suffix, uint64_t max, std::string_view why) const {
    const auto number = count(suffix, max);
    if (!number) fail_input("{}; and {} is not there: nothing of the model is known", why, key(suffix));
    return *number;
  }

  /// The tensor where it has this form and a type that is known.
  const Tensor* find(std::string_view name, int64_t rows, int64_t columns, WeightUse use) const {
    const Tensor* tensor = file_.find_tensor(name);
    if (tensor == nullptr || find_tensor_type(static_cast<uint32_t>(tensor->type)) == nullptr) return nullptr;
    const auto& dims = tensor->dims;
    const bool fits = dims[0] == static_cast<uint64_t>(columns) && dims[1] == static_cast<uint64_t>(rows) &&
                      dims[2] == 1 && dims[3] == 1;
    return fits && (use == WeightUse::matrix || tensor->type == TensorType::f32) ? tensor : nullptr;
  }

  bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }

 private:
  static GgufValue first_of(const GgufArray& array) {
    const auto type = static_cast<GgufType>(array.element_type);
    const uint64_t size = scalar_size(type);
    if (array.count == 0 || size == 0) return false;
    return decode_scalar(type, array.bytes.first(size));
  }

  const ModelFile& file_;
  std::string prefix_;
};

void read_sizes(const ModelFile& file, const Parts& parts, std::string_view why, ModelConfig& config) {
  config.architecture = parts.architecture();
  config.name = file.find_string("general.name").value_or(config.architecture);
  config.n_layer = parts.needed("block_count", kMostKnownLayers, why);
  config.n_embd = parts.needed("embedding_length", kMostKnownWidth, why);
  config.n_ff = parts.count("feed_forward_length", kMostKnownWidth).value_or(1);
  config.n_head = parts.count("attention.head_count", kMostKnownWidth).value_or(1);
  config.n_head_kv = parts.count("attention.head_count_kv", kMostKnownWidth).value_or(config.n_head);
  config.head_dim = parts.count("attention.key_length", kMostKnownWidth)
                        .value_or(std::max<int64_t>(1, config.n_embd / config.n_head));
  config.rope_dims = config.head_dim;
  const Tensor* table = file.find_tensor("token_embd.weight");
  config.n_vocab = table == nullptr ? 1 : static_cast<int64_t>(table->dims[1]);
  config.norm_eps = file.find_float(parts.key("attention.layer_norm_rms_epsilon")).value_or(0);
  config.layers.resize(static_cast<size_t>(config.n_layer));
  config.unknown.set();
  for (LayerConfig& layer : config.layers) layer.unknown.set();
}

/// Whether a key speaks of something.
bool has_key_with(const ModelFile& file, std::string_view word) {
  return std::ranges::any_of(file.metadata(),
                             [&](const auto& entry) { return entry.first.find(word) != entry.first.npos; });
}

/// Names in layer n that have no common meaning.
std::vector<std::string_view> strange_names(const ModelFile& file, const LayerTensors& common, int64_t n) {
  // Norms that a recording has as stages of their own.
  std::set<std::string_view> known{"attn_q_norm.weight", "attn_k_norm.weight", "post_attention_norm.weight",
                                   "post_ffw_norm.weight"};
  for (const auto& group : common) {
    for (const LayerTensor& t : group) known.insert(t.name);
  }
  std::vector<std::string_view> names;
  const std::string prefix = fmt::format("blk.{}.", n);
  for (const Tensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    const auto name = tensor.name.substr(prefix.size());
    if (!known.contains(name)) names.push_back(name);
  }
  return names;
}

/// "attn" of "attn_q.weight".
std::string_view group_of(std::string_view name) { return name.substr(0, name.find('_')); }

/// The weights of layer n that have the common form, and which stages these make.
void bind_known_layer(const ModelFile& file, const Parts& parts, const LayerTensors& common, int64_t n,
                      Model& model) {
  LayerWeights& layer = model.layers.emplace_back();
  LayerConfig& config = model.config.layers[static_cast<size_t>(n)];
  const auto name_of = [&](std::string_view name) { return fmt::format("blk.{}.{}", n, name); };
  const auto knows = [&](Stage stage) { config.unknown.reset(static_cast<size_t>(stage)); };
  for (const auto& group : common) {
    for (const LayerTensor& t : group) {
      const Tensor* tensor =
          parts.find(name_of(t.name), size_of(t.rows, model.config), size_of(t.columns, model.config), t.use);
      (t.use == WeightUse::bias ? layer.bias_of(t.stage) : layer.of(t.stage)) = tensor;
    }
  }
  const std::vector<std::string_view> strange = strange_names(file, common, n);
  const bool clamped = has_key_with(file, "clamp");
  for (const auto& group : common) {
    for (const LayerTensor& t : group) {
      if (t.use == WeightUse::bias || layer.of(t.stage) == nullptr) continue;
      const std::string base(t.name.substr(0, t.name.rfind('.')));
      if (parts.has(name_of(base + ".bias")) && layer.bias_of(t.stage) == nullptr) continue;
      const auto is_of_it = [&](std::string_view name) { return name.starts_with(base + "."); };
      if (std::ranges::any_of(strange, is_of_it)) continue;  // such as a scale of the weight
      if (t.use == WeightUse::norm) {
        if (model.config.norm_eps > 0) knows(t.stage);
        continue;
      }
      // What it is of must be what the recording calls so: the norm, or what nothing strange has changed.
      const Stage input = common_input(t.stage);
      const bool behind_norm = input == Stage::attn_norm || input == Stage::ffn_norm;
      const auto is_beside = [&](std::string_view name) { return group_of(name) == group_of(base); };
      if (input == Stage::attn_norm && clamped) continue;
      if (behind_norm ? layer.of(input) != nullptr : std::ranges::none_of(strange, is_beside)) knows(t.stage);
    }
  }
  for (const StageInfo& row : kStageTable) {
    const bool told_by_weight = is_of_latent(row.stage) || (is_optional(row.stage) && is_norm(row.kind));
    if (told_by_weight && layer.of(row.stage) == nullptr) config.lacks.set(static_cast<size_t>(row.stage));
  }
}

/// What is outside the layers.
void bind_known_ends(const ModelFile& file, const Parts& parts, Model& model) {
  ModelConfig& config = model.config;
  const auto matrix = [&](std::string_view name) {
    return parts.find(name, config.n_vocab, config.n_embd, WeightUse::matrix);
  };
  model.token_embd = matrix("token_embd.weight");
  model.output_norm = parts.find("output_norm.weight", 1, config.n_embd, WeightUse::norm);
  config.tied_output = !parts.has("output.weight");
  model.output = config.tied_output ? model.token_embd : matrix("output.weight");
  const auto knows = [&](Stage stage) { config.unknown.reset(static_cast<size_t>(stage)); };
  const bool has_norm = model.output_norm != nullptr && !parts.has("output_norm.bias");
  if (has_norm && config.norm_eps > 0) knows(Stage::final_norm);
  const bool scaled = has_key_with(file, "logit");
  if (has_norm && model.output != nullptr && !scaled && !parts.has("output.bias")) knows(Stage::logits);
}

}  // namespace

bool mark_strange(std::string_view tensor, const Architecture& architecture, ModelConfig& config) {
  if (!tensor.starts_with("blk.")) return false;
  const size_t dot = tensor.find('.', 4);
  const int64_t n = std::atoll(std::string(tensor.substr(4, dot - 4)).c_str());
  if (dot == tensor.npos || n < 0 || n >= config.n_layer) return false;
  const std::string_view own = tensor.substr(dot + 1), base = own.substr(0, own.rfind('.'));
  auto& unknown = config.layers[static_cast<size_t>(n)].unknown;
  const auto mark = [&](Stage stage) { unknown.set(static_cast<size_t>(stage)); };
  bool beside = false;  // a scale or a bias of one of its weights
  for (const auto& group : layer_tensors(architecture, config, n)) {
    for (const LayerTensor& t : group) {
      if (t.name.substr(0, t.name.rfind('.')) != base) continue;
      mark(t.stage);
      beside = true;
    }
  }
  if (beside) return true;
  const bool attention = group_of(base) == "attn", ffn = group_of(base) == "ffn";
  for (const StageInfo& row : kStageTable) {
    if (is_outside_layers(row.stage) || row.stage == Stage::x_in) continue;
    // What is made of a norm that the layer has, and these norms themselves.
    const Stage from = common_input(row.stage);
    const bool safe =
        row.stage == Stage::attn_norm || row.stage == Stage::ffn_norm ||
        (row.kind == StageKind::projection && (from == Stage::attn_norm || from == Stage::ffn_norm));
    const bool after = row.stage > Stage::x_attn, concerned = attention ? !after : ffn ? after : true;
    if (concerned && !safe) mark(row.stage);
  }
  const size_t next = static_cast<size_t>(n) + 1;
  if (!attention && next < config.layers.size())
    config.layers[next].unknown.set(static_cast<size_t>(Stage::x_in));
  return true;
}

Model bind_known(ModelFile file, std::string why) {
  refuse_part(file);
  if (std::optional<Model> model = bind_beside_strange(file)) {
    model->not_known = std::move(why);
    return std::move(*model);
  }
  const Parts parts(file);
  Model model;
  read_sizes(file, parts, why, model.config);
  bind_known_ends(file, parts, model);
  const LayerTensors common = layer_tensors(common_architecture(), model.config, 0);
  for (int64_t n = 0; n < model.config.n_layer; ++n) bind_known_layer(file, parts, common, n, model);
  model.not_known = std::move(why);
  model.file = std::move(file);  // the list of tensors, and so the pointers into it, move along
  return model;
}

Model open_known_model(const std::string& path) {
  try {
    return open_model(path);
  } catch (const NotKnown& why) {
    return bind_known(open_model_file(path), why.what());
  }
}

}  // namespace greta
