#include "judge/hypotheses/misread_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

std::shared_ptr<OwnedMatrix> owned(const GgufTensor& shape, std::vector<float> data) {
  auto matrix = std::make_shared<OwnedMatrix>();
  matrix->data = std::move(data);
  matrix->tensor = shape;
  matrix->tensor.type = TensorType::f32;
  matrix->tensor.data = std::as_bytes(std::span(matrix->data));
  return matrix;
}

/// Where the parts of a block lie, in bytes.
struct BlockLayout {
  int bits = 0;
  bool has_min = false;
  size_t codes = 0, high_bits = 0, bytes = 0;  // high_bits: 0 when there are none
  int offset = 0;
};

BlockLayout layout_of(TensorType type) {
  switch (type) {
    case TensorType::q4_0: return {4, false, 2, 0, 18, 8};
    case TensorType::q4_1: return {4, true, 4, 0, 20, 0};
    case TensorType::q5_0: return {5, false, 6, 2, 22, 16};
    case TensorType::q5_1: return {5, true, 8, 4, 24, 0};
    case TensorType::q8_0: return {8, false, 2, 0, 34, 0};
    default: return {};
  }
}

WeightBlock read_block(const uint8_t* bytes, const BlockLayout& layout) {
  WeightBlock block;
  const auto half = [&](size_t at) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes + at, 2);
    return static_cast<double>(f16_to_f32(bits));
  };
  block.d = half(0);
  block.m = layout.has_min ? half(2) : 0;
  block.offset = layout.offset;
  uint32_t high = 0;
  if (layout.high_bits != 0) std::memcpy(&high, bytes + layout.high_bits, 4);
  for (int i = 0; i < 32; ++i) {
    if (layout.bits == 8) {
      block.code[i] = static_cast<int8_t>(bytes[layout.codes + static_cast<size_t>(i)]);
      continue;
    }
    const uint8_t pair = bytes[layout.codes + static_cast<size_t>(i % 16)];
    block.code[i] = (i < 16 ? pair & 15 : pair >> 4) | static_cast<int>((high >> i & 1) << 4);
  }
  return block;
}

}  // namespace

std::string weight_label(Stage stage) {
  const std::string_view own = info(stage).weight;
  return own.empty() ? fmt::format("{}.weight", name(stage)) : std::string(own);
}

Candidate with_weight(std::shared_ptr<OwnedMatrix> matrix, Text title, int fitted) {
  const GgufTensor* tensor = &matrix->tensor;
  return with_weight(tensor, std::move(title), std::move(matrix), fitted);
}

std::shared_ptr<OwnedMatrix> decoded(const GgufTensor& weight) {
  const int64_t k = static_cast<int64_t>(weight.dims[0]), n = row_count(weight);
  std::vector<float> matrix(static_cast<size_t>(n * k));
  std::vector<double> row(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    decode_row(weight, i, row);
    std::copy(row.begin(), row.end(), matrix.begin() + i * k);
  }
  return owned(weight, std::move(matrix));
}

std::shared_ptr<OwnedMatrix> read_column_major(const GgufTensor& weight) {
  const size_t k = static_cast<size_t>(weight.dims[0]), n = static_cast<size_t>(row_count(weight));
  const std::shared_ptr<OwnedMatrix> buffer = decoded(weight);
  std::vector<float> misread(buffer->data.size());
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) misread[i * k + j] = buffer->data[j * n + i];
  }
  return owned(weight, std::move(misread));
}

std::shared_ptr<OwnedMatrix> reorder_rope_rows(const GgufTensor& weight, int64_t head_dim, bool to_pairs) {
  const size_t k = static_cast<size_t>(weight.dims[0]), d = static_cast<size_t>(head_dim);
  const std::shared_ptr<OwnedMatrix> rows = decoded(weight);
  std::vector<float> moved(rows->data.size());
  for (size_t row = 0; row < moved.size() / k; ++row) {
    const size_t head = row / d * d, i = row % d;
    const size_t pair = head + (i % (d / 2)) * 2 + i / (d / 2);  // where a rotate-half row goes among pairs
    const size_t from = to_pairs ? row : pair, to = to_pairs ? pair : row;
    std::copy_n(rows->data.begin() + static_cast<std::ptrdiff_t>(from * k), k,
                moved.begin() + static_cast<std::ptrdiff_t>(to * k));
  }
  return owned(weight, std::move(moved));
}

std::shared_ptr<OwnedMatrix> read_blocks(
    const GgufTensor& weight,
    const std::function<void(const std::vector<WeightBlock>&, float* row)>& misread) {
  const BlockLayout layout = layout_of(weight.type);
  const size_t k = static_cast<size_t>(weight.dims[0]), n = static_cast<size_t>(row_count(weight));
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(weight.data.data());
  std::vector<float> matrix(n * k);
  std::vector<WeightBlock> blocks(k / 32);
  for (size_t row = 0; row < n; ++row) {
    for (WeightBlock& block : blocks) {
      block = read_block(bytes, layout);
      bytes += layout.bytes;
    }
    misread(blocks, &matrix[row * k]);
  }
  return owned(weight, std::move(matrix));
}

}  // namespace greta
