#include "engine/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "base/error.h"

namespace greta {
namespace {

AlignedBytes copy_vector(const Tensor& tensor) {
  if (tensor.type != TensorType::f32) {
    fail_input("weight {} is {}; norms and biases must be f32", tensor.name, name(tensor.type));
  }
  const size_t row = tensor.dims[0] * 4, padded = (tensor.dims[0] + 15) / 16 * 16 * 4;
  AlignedBytes bytes(static_cast<int64_t>(tensor.dims[1] * padded));
  std::memset(bytes.data(), 0, static_cast<size_t>(bytes.size()));
  for (uint64_t i = 0; i < tensor.dims[1]; ++i)
    std::memcpy(bytes.data() + i * padded, tensor.data.data() + i * row, tensor.dims[0] * 4);
  return bytes;
}

/// The matrix, or each expert's.
std::vector<Tensor> matrices_of(const Tensor& tensor) {
  std::vector<Tensor> matrices;
  for (uint64_t i = 0; i < tensor.dims[2]; ++i)
    matrices.push_back(expert_of(tensor, static_cast<int64_t>(i)));
  return matrices;
}

PackedWeight plan(const Tensor& tensor) {
  if (!can_pack(tensor.type)) {
    fail_input("weight {} has type {}, for which this build has no kernels (greta info lists them)",
               tensor.name, name(tensor.type));
  }
  return plan_pack(tensor.type, tensor.data, static_cast<int64_t>(tensor.dims[1]),
                   static_cast<int64_t>(tensor.dims[0]), tensor.order);
}

// Of packed weights: what has been packed of a file need not stay in memory beside them.
constexpr int64_t kPieceBytes = 16 << 20;

void pack_in_pieces(const ModelFile& file, const Tensor& tensor, ThreadPool& pool, PackedWeight& packed) {
  const auto row_bytes = tensor.data.size() / static_cast<size_t>(packed.n);
  const int64_t step = std::max<int64_t>(1, kPieceBytes / packed.panel_bytes);
  for (int64_t first = 0; first < packed.panels(); first += step) {
    const int64_t count = std::min(step, packed.panels() - first);
    pool.run([&](Part part) {
      const Part::Range panels = part.of(count);
      pack_panels(packed, tensor.data, first + panels.begin, first + panels.end);
    });
    const auto row = [&](int64_t panel) {
      return static_cast<size_t>(std::min(packed.n, panel * kPanelRows));
    };
    file.forget(tensor.data.subspan(row(first) * row_bytes, (row(first + count) - row(first)) * row_bytes));
  }
}

}  // namespace

/// How much of pair i is slowed down by YaRN's factor: 0 before the first border, 1 from the second on. A
/// border is the pair that turns `beta` times within the original context.
static double slowed_share(const YarnRope& yarn, double base, double dims, double pair) {
  const auto border = [&](double beta) {
    return dims * std::log(yarn.original / (beta * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  double low = border(yarn.beta_fast), high = border(yarn.beta_slow);
  if (yarn.whole_borders) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  return std::clamp((pair - low) / std::max(high - low, 0.001), 0.0, 1.0);
}

/// scale base^(-2i / dims) / (2 pi) (Su et al. 2021, RoFormer), divided by the model's factor for the pair,
/// if it has them (Llama 3), or slowed down by YaRN; split in two floats: enough for exact angles at any
/// position.
std::vector<float> make_rope_turns(const Model& model, const LayerConfig& layer) {
  const ModelConfig& config = model.config;
  std::vector<float> turns, factors(static_cast<size_t>(config.rope_dims / 2), 1.0f);
  if (model.rope_freqs != nullptr)
    std::memcpy(factors.data(), model.rope_freqs->data.data(), factors.size() * sizeof(float));
  for (int64_t i = 0; i < config.rope_dims / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(config.rope_dims);
    double value = layer.rope_scale * std::pow(layer.rope_base, exponent) /
                   static_cast<double>(factors[static_cast<size_t>(i)]) / (2 * std::numbers::pi);
    if (layer.yarn.factor != 1) {
      const double share = slowed_share(layer.yarn, layer.rope_base, static_cast<double>(config.rope_dims),
                                        static_cast<double>(i));
      value = value / layer.yarn.factor * share + value * (1 - share);
    }
    const float high = static_cast<float>(value);
    turns.push_back(high);
    turns.push_back(static_cast<float>(value - static_cast<double>(high)));
  }
  return turns;
}

Weights::Weights(const Model& model, ThreadPool& pool) {
  for (const LayerConfig& layer : model.config.layers)
    rope_turns_.try_emplace(layer.rope_key(), make_rope_turns(model, layer));
  std::vector<const Tensor*> order;  // in which a token reads them
  int64_t bytes = 0, bytes_read = 0;
  const auto add_matrix = [&](const Tensor* tensor, int64_t used = 1) {
    if (tensor == nullptr || matrices_.contains(tensor)) return;
    order.push_back(tensor);
    std::vector<PackedWeight>& packed = matrices_[tensor];
    for (const Tensor& matrix : matrices_of(*tensor)) packed.push_back(plan(matrix));
    bytes += std::ssize(packed) * packed.front().packed_bytes();
    bytes_read += used * packed.front().packed_bytes();
  };
  const auto add_vector = [&](const Tensor* tensor) {
    if (tensor != nullptr) vectors_.emplace(tensor, copy_vector(*tensor));
  };

  add_vector(model.output_norm);
  for (const LayerWeights& layer : model.layers) {
    for (const StageInfo& row : kStageTable) {
      const Tensor* weight = layer.of(row.stage);
      const int64_t used = row.kind == StageKind::expert_projection ? model.config.n_expert_used
                           : row.kind == StageKind::head_projection ? model.config.n_head
                                                                    : 1;
      is_projection(row.stage) ? add_matrix(weight, used) : add_vector(weight);
      add_vector(layer.bias_of(row.stage));
    }
  }
  add_matrix(model.output);
  bytes_per_token_ = bytes_read;
  add_matrix(model.token_embd);  // after the sum: decode reads one row of it

  // One piece of memory: small matrices lie on large pages, too, and the next one follows on the last. With a
  // piece for each, decode of SmolLM2 on one thread made 228 to 278 tok/s; this made 281 to 300.
  const AlignedBytes all(bytes);
  int64_t begin = 0;
  for (const Tensor* tensor : order) {
    const std::vector<Tensor> matrices = matrices_of(*tensor);
    std::vector<PackedWeight>& packed = matrices_.at(tensor);
    for (size_t i = 0; i < matrices.size(); ++i) {
      packed[i].bytes = all.slice(begin, packed[i].packed_bytes());
      begin += packed[i].packed_bytes();
      pack_in_pieces(model.file, matrices[i], pool, packed[i]);
    }
  }
}

const float* Weights::vector(const Tensor* tensor) const {
  return reinterpret_cast<const float*>(vectors_.at(tensor).data());
}

}  // namespace greta
