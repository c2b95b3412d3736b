#include "model/model.h"

#include <utility>

#include "base/error.h"
#include "model/architecture.h"
#include "model/gguf_cursor.h"
#include "model/hyperparameters.h"

namespace greta {
namespace {

const Architecture& architecture_of(const Gguf& file) {
  const auto name = file.find_string("general.architecture");
  if (!name) fail_input("{}: the metadata key general.architecture is missing; is it a model?", file.path());
  const Architecture* architecture = find_architecture(*name);
  if (architecture == nullptr) {
    fail_input("{}: the architecture '{}' is not supported; known: {}", file.path(), printable(*name),
               architecture_names());
  }
  return *architecture;
}

/// Finds tensors, checks them, and remembers which were asked for.
class Binder {
 public:
  Binder(const Gguf& file, const ModelConfig& config)
      : file_(file), config_(config), claimed_(file.tensors().size(), false) {}

  /// nullptr when absent.
  const GgufTensor* find(std::string_view name, Dim rows, Dim columns, WeightUse use) {
    const GgufTensor* tensor = file_.find_tensor(name);
    if (tensor == nullptr) return nullptr;
    claimed_[static_cast<size_t>(tensor - file_.tensors().data())] = true;
    check_shape(*tensor, size_of(rows, config_), size_of(columns, config_));
    if (use == WeightUse::norm && tensor->type != TensorType::f32) {
      fail_input("{}: the tensor {} is {}; a norm must be f32", file_.path(), name,
                 greta::name(tensor->type));
    }
    return tensor;
  }

  const GgufTensor* get(std::string_view name, Dim rows, Dim columns, WeightUse use) {
    const GgufTensor* tensor = find(name, rows, columns, use);
    if (tensor == nullptr) fail_input("{}: the tensor {} is missing", file_.path(), name);
    return tensor;
  }

  /// A weight that nobody reads would mean a wrong result in silence.
  void check_all_claimed() const {
    for (size_t i = 0; i < claimed_.size(); ++i) {
      if (claimed_[i]) continue;
      fail_input(
          "{}: the tensor {} has no place in a {} model of {} layers; leaving it out would give wrong "
          "results",
          file_.path(), printable(file_.tensors()[i].name), config_.architecture, config_.n_layer);
    }
  }

 private:
  void check_shape(const GgufTensor& tensor, int64_t rows, int64_t columns) const {
    const auto& dims = tensor.dims;
    const bool good = dims[0] == static_cast<uint64_t>(columns) && dims[1] == static_cast<uint64_t>(rows) &&
                      dims[2] == 1 && dims[3] == 1;
    if (good) return;
    fail_input(
        "{}: the tensor {} has the shape [{}]; the hyperparameters demand [{}, {}] (contiguous dimension "
        "first)",
        file_.path(), tensor.name, fmt::join(dims.begin(), dims.begin() + tensor.n_dims, ", "), columns,
        rows);
  }

  const Gguf& file_;
  const ModelConfig& config_;
  std::vector<bool> claimed_;
};

}  // namespace

Model bind_model(Gguf file) {
  const Architecture& architecture = architecture_of(file);
  refuse_unsupported(file, architecture);
  Model model;
  model.config = read_config(file, architecture);
  Binder binder(file, model.config);
  for (const ModelTensor& t : architecture.model_tensors) {
    model.*t.slot = t.optional ? binder.find(t.name, t.rows, t.columns, t.use)
                               : binder.get(t.name, t.rows, t.columns, t.use);
  }
  model.config.tied_output = model.output == nullptr;
  if (model.config.tied_output) model.output = model.token_embd;
  for (int64_t n = 0; n < model.config.n_layer; ++n) {
    LayerWeights& layer = model.layers.emplace_back();
    for (const LayerTensor& t : architecture.layer_tensors) {
      layer.*t.slot = binder.get(fmt::format("blk.{}.{}", n, t.name), t.rows, t.columns, t.use);
    }
  }
  binder.check_all_claimed();
  model.file = std::move(file);  // the list of tensors, and so the pointers into it, move along
  return model;
}

}  // namespace greta
