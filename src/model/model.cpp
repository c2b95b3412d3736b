#include "model/model.h"

#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "model/architecture.h"
#include "model/gguf_cursor.h"
#include "model/half_known.h"
#include "model/hyperparameters.h"

namespace greta {
namespace {

const Architecture& architecture_of(const ModelFile& file) {
  const auto name = file.find_string("general.architecture");
  if (!name) fail_input("{}: the metadata key general.architecture is missing; is it a model?", file.path());
  const Architecture* architecture = find_architecture(*name);
  if (architecture == nullptr) {
    fail_not_known("{}: the architecture '{}' is not supported; known: {}", file.path(), excerpt(*name),
                   architecture_names());
  }
  return *architecture;
}

/// Finds tensors and checks their shapes and types.
class Binder {
 public:
  Binder(const ModelFile& file, const ModelConfig& config) : file_(file), config_(config) {}

  /// A tensor of so many rows; nullptr when absent.
  const Tensor* find(std::string_view name, int64_t rows, Dim columns, WeightUse use) const {
    const Tensor* tensor = file_.find_tensor(name);
    if (tensor == nullptr) return nullptr;
    check_shape(*tensor, rows, size_of(columns, config_),
                use == WeightUse::experts ? config_.n_expert
                : use == WeightUse::heads ? config_.n_head
                                          : 1);
    if (find_tensor_type(static_cast<uint32_t>(tensor->type)) == nullptr) {
      fail_not_known("{}: the tensor {} has {}, which GRETA does not know; convert the model to another type",
                     file_.path(), name, label(tensor->type));
    }
    if (is_vector(use) && tensor->type != TensorType::f32) {
      fail_input("{}: the tensor {} is {}; {} must be f32", file_.path(), name, greta::name(tensor->type),
                 use == WeightUse::norm    ? "a norm"
                 : use == WeightUse::bias  ? "a bias"
                 : use == WeightUse::sinks ? "a head's sink"
                                           : "a table of factors");
    }
    if (use == WeightUse::factors) check_factors(*tensor);
    return tensor;
  }

  const Tensor* get(std::string_view name, int64_t rows, Dim columns, WeightUse use) const {
    const Tensor* tensor = find(name, rows, columns, use);
    if (tensor == nullptr) fail_input("{}: the tensor {} is missing", file_.path(), file_.own_name(name));
    return tensor;
  }

  /// One tensor of a layer, or the slices of a fused one.
  void bind(std::span<const LayerTensor> fused, int64_t n, LayerWeights& layer,
            std::list<TensorSlice>& slices) const {
    const LayerTensor& first = fused.front();
    int64_t rows = 0;
    for (const LayerTensor& t : fused) rows += size_of(t.rows, config_);
    const std::string name = fmt::format("blk.{}.{}", n, first.name);
    const Tensor* whole = first.optional ? find(name, rows, first.columns, first.use)
                                         : get(name, rows, first.columns, first.use);
    if (fused.size() == 1) {
      if (whole != nullptr) slot(layer, first) = whole;  // one of two may make a stage
      return;
    }
    uint64_t at = 0;
    for (const LayerTensor& t : fused) {
      const uint64_t count = static_cast<uint64_t>(size_of(t.rows, config_));
      TensorSlice& slice = slices.emplace_back(TensorSlice{
          fmt::format("{}[{}..{}]", whole->name, at, at + count - 1), some_rows(*whole, at, count)});
      slice.tensor.name = slice.name;
      slot(layer, t) = &slice.tensor;
      at += count;
    }
  }

 private:
  static const Tensor*& slot(LayerWeights& layer, const LayerTensor& t) {
    return t.use == WeightUse::bias ? layer.bias_of(t.stage) : layer.of(t.stage);
  }

  void check_shape(const Tensor& tensor, int64_t rows, int64_t columns, int64_t experts) const {
    const auto& dims = tensor.dims;
    const bool good = dims[0] == static_cast<uint64_t>(columns) && dims[1] == static_cast<uint64_t>(rows) &&
                      dims[2] == static_cast<uint64_t>(experts) && dims[3] == 1;
    if (good) return;
    fail_input(
        "{}: the tensor {} has the shape [{}]; the hyperparameters demand [{}, {}{}] (contiguous dimension "
        "first)",
        file_.path(), file_.own_name(tensor.name),
        fmt::join(dims.begin(), dims.begin() + tensor.n_dims, ", "), columns, rows,
        experts == 1 ? "" : fmt::format(", {}", experts));
  }

  void check_factors(const Tensor& tensor) const {
    for (uint64_t i = 0; i < tensor.dims[0]; ++i) {
      float factor;
      std::memcpy(&factor, tensor.data.data() + i * sizeof factor, sizeof factor);
      if (factor > 0 && std::isfinite(factor)) continue;
      fail_input("{}: {}[{}] is {}; a factor must be finite and above 0", file_.path(), tensor.name, i,
                 factor);
    }
  }

  const ModelFile& file_;
  const ModelConfig& config_;
};

/// Tensors that the architecture has no place for.
std::vector<const Tensor*> strange_tensors(const ModelFile& file, const Architecture& architecture,
                                           const ModelConfig& config) {
  std::set<std::string, std::less<>> known;
  for (const ModelTensor& t : architecture.model_tensors) known.emplace(t.name);
  for (int64_t n = 0; n < config.n_layer; ++n) {
    for (const auto& group : layer_tensors(architecture, config, n)) {
      for (const LayerTensor& t : group) known.insert(fmt::format("blk.{}.{}", n, t.name));
    }
  }
  std::vector<const Tensor*> strange;
  for (const Tensor& tensor : file.tensors()) {
    if (!known.contains(tensor.name)) strange.push_back(&tensor);
  }
  return strange;
}

/// A weight that nobody reads would mean a wrong result in silence.
void refuse_unknown_tensors(const ModelFile& file, const Architecture& architecture,
                            const ModelConfig& config) {
  for (const Tensor* tensor : strange_tensors(file, architecture, config)) {
    for (const RefusedTensor& refused : refused_tensors()) {
      if (!matches(refused.pattern, tensor->name)) continue;
      fail_not_known("{}: has the tensor {}; not supported yet: {}", file.path(),
                     excerpt(file.own_name(tensor->name)), refused.feature);
    }
    fail_not_known(
        "{}: the tensor {} has no place in a {} model of {} layers; leaving it out would give wrong results",
        file.path(), excerpt(file.own_name(tensor->name)), architecture.name, config.n_layer);
  }
}

/// The stages that a layer with these weights does not have.
std::bitset<kStageCount> lacking(const LayerWeights& layer, bool by_sigmoid) {
  std::bitset<kStageCount> lacks;
  const bool experts = layer.of(Stage::router) != nullptr, dense = layer.of(Stage::down) != nullptr;
  for (const StageInfo& row : kStageTable) {
    const bool chosen = row.stage >= Stage::router && row.stage <= Stage::experts_out;
    const bool weightless = is_optional(row.stage) && is_norm(row.kind) && layer.of(row.stage) == nullptr;
    const bool ffn = row.stage >= Stage::gate && row.stage <= Stage::down;
    const bool unwanted = row.stage == Stage::expert_probs && !by_sigmoid;
    // What joins has no weight: it is there where q is absorbed.
    const Stage absorbs = row.kind == StageKind::join ? Stage::q_absorbed : row.stage;
    const bool latent = is_of_latent(row.stage) && layer.of(absorbs) == nullptr;
    if (weightless || unwanted || latent || (chosen && !experts) || (ffn && !dense))
      lacks.set(static_cast<size_t>(row.stage));
  }
  if (layer.of(Stage::shared_gate) == nullptr) {
    for (const Stage stage : {Stage::shared_gate, Stage::shared_out}) lacks.set(static_cast<size_t>(stage));
  }
  if (!experts || !dense) lacks.set(static_cast<size_t>(Stage::ffn_out));
  return lacks;
}

/// Runs of entries with one name: a tensor each.
void bind_layer(const Architecture& architecture, const Binder& binder, int64_t n, Model& model) {
  LayerWeights& layer = model.layers.emplace_back();
  for (const auto& group : layer_tensors(architecture, model.config, n)) {
    for (size_t begin = 0, end = 0; begin < group.size(); begin = end) {
      while (end < group.size() && group[end].name == group[begin].name) ++end;
      binder.bind(group.subspan(begin, end - begin), n, layer, model.slices);
    }
  }
  for (const Stage stage : {Stage::q, Stage::k, Stage::v}) {
    if (layer.of(stage) == nullptr)
      fail_input("{}: the weight of {} of layer {} is missing", model.file.path(), name(stage), n);
  }
  if ((layer.of(Stage::q_a) == nullptr) != (layer.of(Stage::q_a_norm) == nullptr))
    fail_input("{}: layer {} has one of attn_q_a.weight and attn_q_a_norm.weight; it needs both or none",
               model.file.path(), n);
  model.config.layers[static_cast<size_t>(n)].lacks |= lacking(layer, model.config.choice.by_sigmoid);
}

}  // namespace

bool has_stage(const ModelConfig& config, At at) {
  if (at.layer < 0 || static_cast<size_t>(at.layer) >= config.layers.size()) return true;
  return !config.layer(at.layer).lacks.test(static_cast<size_t>(at.stage));
}

bool has_place(const ModelConfig& config, At at) {
  if (is_outside_layers(at.stage)) return at.layer == kNoLayer;
  return at.layer >= 0 && at.layer < config.n_layer && has_stage(config, at);
}

bool is_known(const ModelConfig& config, At at) {
  const auto stage = static_cast<size_t>(at.stage);
  if (is_outside_layers(at.stage)) return !config.unknown.test(stage);
  return at.layer < 0 || at.layer >= config.n_layer || !config.layer(at.layer).unknown.test(stage);
}

std::vector<At> operands_at(const ModelConfig& config, At at) {
  return operands_of(at, static_cast<int>(config.n_layer), [&](At from) { return has_stage(config, from); });
}

int64_t row_heads(Stage stage, const ModelConfig& config) {
  switch (info(stage).heads) {
    case Heads::none: return 1;
    case Heads::q: return config.n_head;
    case Heads::used: return config.n_expert_used;
    case Heads::kv: return info(stage).row_per == RowPer::cache ? 2 * config.n_head_kv : config.n_head_kv;
  }
  return 1;
}

int64_t row_width(At at, const ModelConfig& config, int64_t n_pos) {
  const int64_t heads = row_heads(at.stage, config);
  switch (info(at.stage).width) {
    case Width::embd: return heads * config.n_embd;
    case Width::head_dim: return heads * config.head_dim;
    case Width::query_dim: return heads * config.query_dim();
    case Width::key_dim: return heads * config.key_dim();
    case Width::value_dim: return heads * config.value_dim();
    case Width::out_dim: return heads * config.out_dim();
    case Width::q_rank: return config.latent.q_rank;
    case Width::ff: return config.ff_of(at.layer);
    case Width::vocab: return config.n_vocab;
    case Width::positions: return heads * n_pos;
    case Width::all_experts: return config.n_expert;
    case Width::used: return config.n_expert_used;
    case Width::expert_ff: return heads * config.n_ff_expert;
    case Width::single: return 1;
  }
  return 0;
}

int64_t rope_width(Stage stage, const ModelConfig& config) {
  return info(stage).heads == Heads::q ? config.query_dim() : config.key_dim();
}

int64_t rows_per_token(Stage stage, const ModelConfig& config) {
  return info(stage).row_per == RowPer::token_head ? row_heads(stage, config) : 1;
}

double scale_of(Stage stage, const ModelConfig& config) {
  switch (info(stage).scale) {
    case Scale::none: return 1;
    case Scale::embedding: return config.embedding_scale;
    case Scale::residual: return config.residual_scale;
    case Scale::logits: return 1 / config.logit_divisor;
  }
  return 1;
}

double cap_of(Stage stage, const ModelConfig& config) {
  if (stage == Stage::logits) return config.logit_cap;
  return info(stage).kind == StageKind::scores ? config.score_cap : 0;
}

const Tensor* weight_of(const Model& model, WeightAt at) {
  if (at.part != 0) return nullptr;
  if (at.stage == Stage::x_in) return at.layer == 0 ? model.token_embd : nullptr;
  if (at.stage == Stage::final_norm) return model.output_norm;
  if (at.stage == Stage::logits) return model.output;
  if (at.layer < 0 || at.layer >= std::ssize(model.layers)) return nullptr;
  return model.layers[static_cast<size_t>(at.layer)].of(at.stage);
}

Tensor expert_of(const Tensor& experts, int64_t expert) {
  Tensor one = experts;
  const size_t bytes = experts.data.size() / experts.dims[2];
  one.n_dims = 2;
  one.dims[2] = 1;
  one.data = experts.data.subspan(static_cast<size_t>(expert) * bytes, bytes);
  return one;
}

const Tensor* bias_of(const Model& model, WeightAt at) {
  if (at.part != 0 || at.layer < 0 || at.layer >= std::ssize(model.layers)) return nullptr;
  return model.layers[static_cast<size_t>(at.layer)].bias_of(at.stage);
}

/// Both tables, or none; a run's own is chosen later.
static void bind_long_rope(Model& model) {
  const bool is_long = model.rope_long != nullptr, is_short = model.rope_short != nullptr;
  if (is_long != is_short)
    fail_input("{}: the tensor rope_factors_{}.weight is missing, and the {} one is there", model.file.path(),
               is_long ? "short" : "long", is_long ? "long" : "short");
  if (is_long && model.rope_freqs != nullptr)
    fail_input("{}: has rope_freqs.weight beside rope_factors_long.weight; a model has one RoPE",
               model.file.path());
  if (is_long != (model.config.rope_original > 0))
    fail_input("{}: {}", model.file.path(),
               is_long ? "has rope_factors_long.weight without rope.scaling.original_context_length"
                       : "says that RoPE is scaled by longrope, and rope_factors_long.weight is missing");
  set_context(model, 0);
}

/// All of the architecture's tensors.
static Model bind_tensors(ModelFile& file, const Architecture& architecture, ModelConfig config) {
  Model model;
  model.config = std::move(config);
  const Binder binder(file, model.config);
  for (const ModelTensor& t : architecture.model_tensors) {
    const int64_t rows = size_of(t.rows, model.config);
    model.*t.slot =
        t.optional ? binder.find(t.name, rows, t.columns, t.use) : binder.get(t.name, rows, t.columns, t.use);
  }
  model.config.tied_output = model.output == nullptr;
  if (model.config.tied_output) model.output = model.token_embd;
  for (int64_t n = 0; n < model.config.n_layer; ++n) bind_layer(architecture, binder, n, model);
  model.file = std::move(file);  // the list of tensors, and so the pointers into it, move along
  bind_long_rope(model);
  return model;
}

Model bind_model(ModelFile file) {
  refuse_part(file);
  const Architecture& architecture = architecture_of(file);
  refuse_unsupported(file, architecture);
  ModelConfig config = read_config(file, architecture);
  refuse_unknown_tensors(file, architecture, config);
  return bind_tensors(file, architecture, std::move(config));
}

std::optional<Model> bind_beside_strange(ModelFile& file) {
  const Architecture* architecture = find_architecture(file.find_string("general.architecture").value_or(""));
  if (architecture == nullptr) return std::nullopt;
  try {
    refuse_unsupported(file, *architecture);
    ModelConfig config = read_config(file, *architecture);
    for (const Tensor* tensor : strange_tensors(file, *architecture, config)) {
      if (!mark_strange(tensor->name, *architecture, config)) return std::nullopt;
    }
    return bind_tensors(file, *architecture, std::move(config));
  } catch (const Error&) {
    return std::nullopt;  // keys, or other tensors than the architecture's
  }
}

void set_context(Model& model, int64_t positions) {
  model.config.context = positions;
  if (model.rope_long == nullptr) return;
  model.rope_freqs = positions > model.config.rope_original ? model.rope_long : model.rope_short;
}

Model open_model(const std::string& path) { return bind_model(open_model_file(path)); }

}  // namespace greta
