#include "judge/op_stage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace greta {
namespace {

/// Rows of one stage.
struct Rows {
  Stage stage;
  std::vector<float> values;
};

/// One op, or a matrix of it, as a stage: what is recorded, and how the model is.
struct Staged {
  Stage stage = Stage::gate;
  std::vector<Rows> inputs;
  std::vector<float> output;
  std::optional<Tensor> weight = {};
  int64_t matrix = -1;             // which of several
  std::vector<int64_t> positions;  // of the rows
  std::vector<TokenId> tokens = {};
  ModelConfig config = {};
  LayerConfig layer = {};
};

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

std::vector<int64_t> counted(int64_t rows) {
  std::vector<int64_t> positions;
  for (int64_t row = 0; row < rows; ++row) positions.push_back(row);
  return positions;
}

Tensor vector_weight(std::span<const float> values) {
  Tensor weight;
  weight.name = "weight";
  weight.n_dims = 1;
  weight.dims = {values.size(), 1, 1, 1};
  weight.data = std::as_bytes(values);
  return weight;
}

std::vector<Staged> products(const OpRecord& op) {
  std::vector<Staged> all;
  const size_t n = static_cast<size_t>(op.output.width());
  for (Product& part : products_of(op)) {
    Staged staged;
    staged.stage = Stage::gate;
    staged.config.n_embd = op.input(1).width();
    staged.config.n_ff = op.output.width();
    staged.weight = part.weight;
    staged.matrix = part.matrix;
    staged.inputs.push_back({Stage::ffn_norm, std::move(part.x)});
    for (const size_t row : part.results) {
      const auto values = op.output.values.subspan(row * n, n);
      staged.output.insert(staged.output.end(), values.begin(), values.end());
    }
    staged.positions = counted(std::ssize(part.results));
    all.push_back(std::move(staged));
  }
  return all;
}

Staged table_rows(const OpRecord& op) {
  Staged staged;
  staged.stage = Stage::x_in;
  staged.config.n_embd = op.output.width();
  staged.config.n_vocab = op.input(0).rows();
  staged.output = copy_of(op.output.values);
  staged.positions = counted(op.output.rows());
  for (const float id : op.input(1).values) staged.tokens.push_back(static_cast<TokenId>(id));
  if (op.input(0).weight != nullptr) {
    staged.weight = *op.input(0).weight;
  } else {
    staged.weight = vector_weight(op.input(0).values);
    staged.weight->n_dims = 2;
    staged.weight->dims = {static_cast<uint64_t>(op.output.width()),
                           static_cast<uint64_t>(op.input(0).rows()), 1, 1};
  }
  return staged;
}

Staged row_norm(const OpRecord& op) {
  Staged staged;
  staged.stage = Stage::attn_norm;
  staged.config.n_embd = op.output.width();
  staged.config.norm_eps = op.number("eps", 0);
  staged.inputs.push_back({Stage::x_in, copy_of(op.input(0).values)});
  staged.output = copy_of(op.output.values);
  staged.positions = counted(op.output.rows());
  if (op.has_input(1)) staged.weight = vector_weight(op.input(1).values);
  return staged;
}

/// A row at a time: positions may repeat, as those of a batch do.
std::vector<Staged> rotations(const OpRecord& op) {
  const oracle::RopeShape shape = rope_shape(op);
  const std::vector<int64_t> positions = rope_positions(op);
  const size_t width = static_cast<size_t>(shape.heads * shape.head_dim);
  const auto staged_rows = [&](size_t first, size_t count) {
    Staged staged;
    staged.stage = Stage::q_rope;
    staged.config.n_head = shape.heads;
    staged.config.head_dim = shape.head_dim;
    staged.config.n_embd = shape.heads * shape.head_dim;
    staged.config.rope_dims = shape.rope_dims;
    staged.config.rope_base = staged.layer.rope_base = shape.base;
    staged.layer.rope_scale = shape.scale;
    staged.config.rope_adjacent = shape.adjacent;
    staged.inputs.push_back({Stage::q, copy_of(op.input(0).values.subspan(first * width, count * width))});
    staged.output = copy_of(op.output.values.subspan(first * width, count * width));
    staged.positions.assign(positions.begin() + static_cast<std::ptrdiff_t>(first),
                            positions.begin() + static_cast<std::ptrdiff_t>(first + count));
    return staged;
  };
  bool increasing = true;
  for (size_t i = 1; i < positions.size(); ++i)
    increasing = increasing && positions[i] == positions[i - 1] + 1;
  std::vector<Staged> all;
  if (increasing) return {staged_rows(0, positions.size())};
  for (size_t i = 0; i < positions.size(); ++i) all.push_back(staged_rows(i, 1));
  return all;
}

Staged weights_of_scores(const OpRecord& op) {
  const OpTensor& x = op.input(0);
  Staged staged;
  staged.stage = Stage::softmax;
  staged.config.n_head = x.shape.size() < 3 ? 1 : x.extent(1);
  staged.inputs.push_back({Stage::qk, copy_of(x.values)});
  staged.output = copy_of(op.output.values);
  staged.positions = counted(x.rows() / staged.config.n_head);
  return staged;
}

Staged sum(const OpRecord& op) {
  Staged staged;
  staged.stage = Stage::x_attn;
  staged.config.n_embd = op.output.width();
  staged.inputs.push_back({Stage::x_in, copy_of(op.input(0).values)});
  std::vector<float> b;
  while (b.size() < op.input(0).values.size())
    b.insert(b.end(), op.input(1).values.begin(), op.input(1).values.end());
  staged.inputs.push_back({Stage::attn_out, std::move(b)});
  staged.output = copy_of(op.output.values);
  staged.positions = counted(op.output.rows());
  return staged;
}

Staged gated(const OpRecord& op) {
  Staged staged;
  staged.stage = Stage::act;
  staged.config.n_ff = op.output.width();
  staged.config.activation =
      word_of(*op.event, "activation", "") == "gelu" ? Activation::gelu : Activation::silu;
  std::vector<float> gate = copy_of(op.input(0).values), up;
  if (op.has_input(1)) {
    up = copy_of(op.input(1).values);
  } else {
    halves_of(op, gate, up);
  }
  staged.inputs.push_back({Stage::gate, std::move(gate)});
  staged.inputs.push_back({Stage::up, std::move(up)});
  staged.output = copy_of(op.output.values);
  staged.positions = counted(op.output.rows());
  return staged;
}

std::vector<Staged> staged_of(const OpRecord& op) {
  switch (op.info->op) {
    case Op::mul_mat:
    case Op::mul_mat_id: return products(op);
    case Op::rope: return rotations(op);
    case Op::get_rows: return {table_rows(op)};
    case Op::rms_norm: return {row_norm(op)};
    case Op::soft_max: return {weights_of_scores(op)};
    case Op::add: return {sum(op)};
    case Op::glu: return {gated(op)};
    default: return {};
  }
}

/// What the layers of one model must have in common.
std::string model_key(const OpRecord& op, const Staged& staged) {
  const ModelConfig& c = staged.config;
  const int type = staged.weight ? static_cast<int>(staged.weight->type) : -1;
  std::string key =
      fmt::format("{} {} {} | {} {} {} {} {} {} {} {} {} {} {}", static_cast<int>(staged.stage), op.event->op,
                  op.event->kernel, c.n_embd, c.n_ff, c.n_head, c.head_dim, c.n_vocab, c.norm_eps,
                  c.rope_base, c.rope_dims, c.rope_adjacent, static_cast<int>(c.activation), type);
  // There is one embedding a model.
  if (staged.stage == Stage::x_in)
    key += fmt::format(" {}", static_cast<const void*>(staged.weight->data.data()));
  return key;
}

std::vector<int64_t> shape_for(const Staged& staged, Stage stage, size_t values) {
  const int64_t rows = std::ssize(staged.positions);
  const int64_t width = static_cast<int64_t>(values) / rows;
  if (info(stage).row_per != RowPer::token_head) return {rows, width};
  return {rows, staged.config.n_head, width / staged.config.n_head};
}

/// Puts ops into models.
class Stager {
 public:
  explicit Stager(const Bundle& bundle) : bundle_(bundle) {}

  void add(const OpRecord& op, size_t index) {
    std::vector<Staged> parts = staged_of(op);
    for (size_t part = 0; part < parts.size(); ++part) put(op, index, part, std::move(parts[part]));
  }

  std::vector<std::unique_ptr<StagedOps>> done() && {
    for (auto& [key, group] : groups_) {
      group->model.config.n_layer = std::ssize(group->of_layer);
      all_.push_back(std::move(group));
    }
    return std::move(all_);
  }

 private:
  StagedOps& group_of(const OpRecord& op, const Staged& staged) {
    std::unique_ptr<StagedOps>& group = groups_[model_key(op, staged)];
    if (group != nullptr) return *group;
    group = std::make_unique<StagedOps>();
    group->stage = staged.stage;
    ModelConfig& config = group->model.config = staged.config;
    config.name = "ops";
    config.n_vocab = std::max<int64_t>(config.n_vocab, 1);
    config.n_embd = std::max<int64_t>(config.n_embd, 1);
    config.n_ff = std::max<int64_t>(config.n_ff, 1);
    config.n_head = config.n_head_kv = std::max<int64_t>(config.n_head, 1);
    config.head_dim = std::max<int64_t>(config.head_dim, 1);
    config.attention_scale = 1;
    group->bundle.path = bundle_.path;
    group->bundle.manifest = {{"schema", kBundleSchema}, {"engine", bundle_.manifest.value("engine", "")}};
    const nlohmann::json kernels = bundle_.manifest.value("kernels", nlohmann::json::object());
    if (kernels.contains(op.event->kernel))
      group->bundle.manifest["kernels"] = {{op.event->kernel, kernels.at(op.event->kernel)}};
    group->bundle.manifest["prompts"] = nlohmann::json::array();
    return *group;
  }

  /// The layer of an op's place. A first one is left empty: its x_in would be made from tokens.
  int layer_of(StagedOps& group, const std::string& place, const std::string& label, const Staged& staged) {
    if (staged.stage == Stage::x_in) {
      if (group.of_layer.empty()) new_layer(group, staged, label);
      group.model.token_embd = group.weights.empty() ? keep(group, *staged.weight) : &group.weights.front();
      return 0;
    }
    if (group.of_layer.empty()) new_layer(group, staged, label);
    const auto [it, fresh] = layers_.try_emplace({&group, place}, static_cast<int>(group.of_layer.size()));
    if (!fresh) return it->second;
    new_layer(group, staged, label);
    LayerWeights& weights = group.model.layers.back();
    if (staged.weight) weights.of(staged.stage) = keep(group, *staged.weight);
    if (staged.stage == Stage::attn_norm && !staged.weight) {
      group.owned.emplace_back(static_cast<size_t>(staged.config.n_embd), 1.0f);
      weights.of(staged.stage) = keep(group, vector_weight(group.owned.back()));
    }
    return it->second;
  }

  static const Tensor* keep(StagedOps& group, const Tensor& weight) {
    group.weights.push_back(weight);
    return &group.weights.back();
  }

  static void new_layer(StagedOps& group, const Staged& staged, const std::string& label) {
    group.labels.push_back(label);
    LayerConfig layer = staged.layer;
    for (const StageInfo& row : kStageTable) {
      if (few_have(row.stage)) layer.lacks.set(static_cast<size_t>(row.stage));
    }
    group.model.config.layers.push_back(layer);
    group.model.layers.emplace_back();
    group.of_layer.emplace_back();
  }

  void put(const OpRecord& op, size_t index, size_t part, Staged staged) {
    StagedOps& group = group_of(op, staged);
    const Event& event = *op.event;
    // The weight belongs to the place: an op that reads another each time is another place each time.
    const std::string place =
        fmt::format("{} {} {} {}", event.name.empty() ? event.inputs.front() : event.name, event.layer,
                    staged.layer.rope_scale,
                    staged.weight ? static_cast<const void*>(staged.weight->data.data()) : nullptr);
    std::string label = event.name.empty() ? event.inputs.front() : event.name;
    if (staged.matrix >= 0) label = fmt::format("matrix {} of {}", staged.matrix, event.inputs.front());
    if (event.layer != kNoLayer) label += fmt::format(" (layer {})", event.layer);
    const int layer = layer_of(group, place, label, staged);
    auto& records = group.of_layer[static_cast<size_t>(layer)];
    if (std::ranges::find(records, index) == records.end()) records.push_back(index);
    const std::string prompt = fmt::format("{}#{}.{}", name(event.key()), index, part);
    if (!staged.tokens.empty())
      group.bundle.manifest["prompts"].push_back({{"id", prompt}, {"tokens", staged.tokens}});
    const auto add = [&](Stage stage, std::vector<float> values, bool made) {
      Event recorded;
      recorded.experiment = "E0";
      recorded.prompt_id = prompt;
      recorded.cell = "E0/" + prompt;
      recorded.phase = event.phase;
      recorded.layer = layer;
      recorded.stage = name(stage);
      recorded.positions = packed_positions(staged.positions);
      recorded.shape = shape_for(staged, stage, values.size());
      if (made) {
        recorded.kernel = event.kernel;
        recorded.dtype = event.dtype;
        recorded.route = event.route;
      }
      group.bundle.add(std::move(recorded), std::move(values));
    };
    for (Rows& rows : staged.inputs) add(rows.stage, std::move(rows.values), false);
    add(staged.stage, std::move(staged.output), true);
  }

  const Bundle& bundle_;
  std::map<std::string, std::unique_ptr<StagedOps>> groups_;
  std::map<std::pair<StagedOps*, std::string>, int> layers_;
  std::vector<std::unique_ptr<StagedOps>> all_;
};

}  // namespace

bool has_stage_kind(const OpRecord& op) {
  switch (op.info->op) {
    case Op::mul_mat:
    case Op::mul_mat_id:
    case Op::get_rows:
    case Op::rms_norm:
    case Op::add: return true;
    case Op::rope: return !op.has_input(2);
    case Op::glu: {
      const std::string activation = word_of(*op.event, "activation", "");
      return activation == "silu" || activation == "gelu";
    }
    case Op::soft_max:
      return !op.has_input(1) && op.number("scale", 1) == 1 && op.number("softcap", 0) == 0 &&
             op.number("causal", 0) == 0;
    default: return false;
  }
}

std::vector<std::unique_ptr<StagedOps>> stage_ops(const Bundle& bundle,
                                                  const std::vector<OpRecord>& records) {
  Stager stager(bundle);
  for (size_t i = 0; i < records.size(); ++i) {
    if (has_stage_kind(records[i])) stager.add(records[i], i);
  }
  return std::move(stager).done();
}

}  // namespace greta
