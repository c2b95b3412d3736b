#include "isolate/misread_weights.h"

#include <algorithm>

#include "numerics/dequant.h"

namespace greta::isolate {
namespace {

/// The matrix row by row, rounded to f32 as engines dequantise it.
std::vector<float> decode(const GgufTensor& weight) {
  const int64_t k = static_cast<int64_t>(weight.dims[0]), n = row_count(weight);
  std::vector<float> matrix(static_cast<size_t>(n * k));
  std::vector<double> row(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    decode_row(weight, i, row);
    for (int64_t j = 0; j < k; ++j)
      matrix[static_cast<size_t>(i * k + j)] = static_cast<float>(row[static_cast<size_t>(j)]);
  }
  return matrix;
}

std::shared_ptr<OwnedMatrix> owned(const GgufTensor& shape, std::vector<float> data) {
  auto matrix = std::make_shared<OwnedMatrix>();
  matrix->data = std::move(data);
  matrix->tensor = shape;
  matrix->tensor.type = TensorType::f32;
  matrix->tensor.data = std::as_bytes(std::span(matrix->data));
  return matrix;
}

}  // namespace

const GgufTensor* weight_of(const Model& model, Stage stage, int layer) {
  if (stage == Stage::final_norm) return model.output_norm;
  if (stage == Stage::logits) return model.output;
  if (layer < 0 || layer >= model.config.n_layer) return nullptr;
  const LayerWeights& weights = model.layers[static_cast<size_t>(layer)];
  switch (stage) {
    case Stage::attn_norm: return weights.attn_norm;
    case Stage::q: return weights.q;
    case Stage::k: return weights.k;
    case Stage::v: return weights.v;
    case Stage::attn_out: return weights.attn_out;
    case Stage::ffn_norm: return weights.ffn_norm;
    case Stage::gate: return weights.gate;
    case Stage::up: return weights.up;
    case Stage::down: return weights.down;
    default: return nullptr;
  }
}

std::vector<Stage> siblings_of(Stage stage) {
  using enum Stage;
  switch (stage) {
    case q: return {k, v, attn_out};
    case k: return {q, v};
    case v: return {q, k};
    case attn_out: return {q};
    case gate: return {up};
    case up: return {gate};
    case attn_norm: return {ffn_norm};
    case ffn_norm: return {attn_norm};
    default: return {};
  }
}

std::shared_ptr<OwnedMatrix> read_column_major(const GgufTensor& weight) {
  const size_t k = static_cast<size_t>(weight.dims[0]), n = static_cast<size_t>(row_count(weight));
  const std::vector<float> buffer = decode(weight);
  std::vector<float> misread(buffer.size());
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) misread[i * k + j] = buffer[j * n + i];
  }
  return owned(weight, std::move(misread));
}

std::shared_ptr<OwnedMatrix> reorder_rope_rows(const GgufTensor& weight, int64_t head_dim, bool to_pairs) {
  const size_t k = static_cast<size_t>(weight.dims[0]), d = static_cast<size_t>(head_dim);
  const std::vector<float> rows = decode(weight);
  std::vector<float> moved(rows.size());
  for (size_t row = 0; row < rows.size() / k; ++row) {
    const size_t head = row / d * d, i = row % d;
    const size_t pair = head + (i % (d / 2)) * 2 + i / (d / 2);  // where a rotate-half row goes among pairs
    const size_t from = to_pairs ? row : pair, to = to_pairs ? pair : row;
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(from * k), k,
                moved.begin() + static_cast<std::ptrdiff_t>(to * k));
  }
  return owned(weight, std::move(moved));
}

}  // namespace greta::isolate
