#include "judge/hypotheses/misread_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/half.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

std::shared_ptr<OwnedMatrix> owned(const Tensor& shape, std::vector<float> data) {
  auto matrix = std::make_shared<OwnedMatrix>();
  matrix->data = std::move(data);
  matrix->tensor = shape;
  matrix->tensor.type = TensorType::f32;
  matrix->tensor.data = std::as_bytes(std::span(matrix->data));
  matrix->tensor.order = {};
  return matrix;
}

/// Where the parts of a block lie, in bytes.
struct BlockLayout {
  TensorType type;
  int bits;
  bool has_min;
  size_t high_bits, codes, bytes;  // high_bits: 0 when there are none; of types with small scales see below
  int offset;
};

constexpr std::array<BlockLayout, 8> kLayouts{{{TensorType::q4_0, 4, false, 0, 2, 18, 8},
                                               {TensorType::q4_1, 4, true, 0, 4, 20, 0},
                                               {TensorType::q5_0, 5, false, 2, 6, 22, 16},
                                               {TensorType::q5_1, 5, true, 4, 8, 24, 0},
                                               {TensorType::q8_0, 8, false, 0, 2, 34, 0},
                                               {TensorType::q4_k, 4, true, 0, 16, 144, 0},
                                               {TensorType::q5_k, 5, true, 16, 48, 176, 0},
                                               {TensorType::q6_k, 6, false, 128, 0, 210, 32}}};

const BlockLayout* layout_of(TensorType type) {
  const auto it = std::ranges::find(kLayouts, type, &BlockLayout::type);
  return it == kLayouts.end() ? nullptr : &*it;
}

double half_at(const uint8_t* bytes) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, 2);
  return static_cast<double>(f16_to_f32(bits));
}

WeightBlock read_block(const uint8_t* bytes, const BlockLayout& layout) {
  WeightBlock block;
  block.d = half_at(bytes);
  block.m = layout.has_min ? half_at(bytes + 2) : 0;
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

/// The opposite of read_block(); false for fields that a block of a scale and a minimum cannot hold.
bool append_block(const WeightBlock& block, const BlockLayout& layout, std::vector<std::byte>& to) {
  const double min = block.m * block.min;
  const uint16_t halves[] = {f32_to_f16(static_cast<float>(block.d)), f32_to_f16(static_cast<float>(min))};
  const auto is_kept = [](uint16_t bits, double value) {
    return static_cast<double>(f16_to_f32(bits)) == value;
  };
  if (block.offset != 0 || block.scale[0] != 1 || block.scale[1] != 1) return false;
  if (!is_kept(halves[0], block.d) || !is_kept(halves[1], min)) return false;
  std::vector<uint8_t> bytes(layout.bytes);
  std::memcpy(bytes.data(), halves, sizeof halves);
  uint32_t high = 0;
  for (int i = 0; i < 32; ++i) {
    if (block.code[i] < 0 || block.code[i] >> layout.bits != 0) return false;
    bytes[layout.codes + static_cast<size_t>(i % 16)] |=
        static_cast<uint8_t>((block.code[i] & 15) << (i < 16 ? 0 : 4));
    high |= static_cast<uint32_t>(block.code[i] >> 4) << i;
  }
  if (layout.high_bits != 0) std::memcpy(bytes.data() + layout.high_bits, &high, sizeof high);
  const auto begin = std::as_bytes(std::span(bytes));
  to.insert(to.end(), begin.begin(), begin.end());
  return true;
}

/// Eight blocks with 6-bit scales and minima: q4_k and q5_k.
void read_k45(const uint8_t* bytes, const BlockLayout& layout, WeightBlock* blocks) {
  const uint8_t* packed = bytes + 4;
  for (int g = 0; g < 8; ++g) {
    WeightBlock& block = blocks[g];
    block.d = half_at(bytes);
    block.m = -half_at(bytes + 2);
    const int low = g % 4;
    const int scale = g < 4 ? packed[g] & 63 : (packed[8 + low] & 15) | (packed[low] >> 6) << 4;
    block.scale[0] = block.scale[1] = scale;
    block.min = g < 4 ? packed[4 + g] & 63 : packed[8 + low] >> 4 | (packed[4 + low] >> 6) << 4;
    for (int i = 0; i < 32; ++i) {
      const uint8_t pair = bytes[layout.codes + static_cast<size_t>(g / 2 * 32 + i)];
      const int high = layout.high_bits == 0 ? 0 : bytes[layout.high_bits + static_cast<size_t>(i)] >> g & 1;
      block.code[i] = (g % 2 == 0 ? pair & 15 : pair >> 4) | high << 4;
    }
  }
}

/// Eight blocks of two signed scales each.
void read_q6(const uint8_t* bytes, const BlockLayout& layout, WeightBlock* blocks) {
  for (int b = 0; b < 8; ++b) {
    WeightBlock& block = blocks[b];
    block.d = half_at(bytes + 208);
    block.offset = layout.offset;
    for (int half = 0; half < 2; ++half)
      block.scale[half] = block.zero_scale[half] = static_cast<int8_t>(bytes[192 + 2 * b + half]);
    const int part = b / 4, quarter = b % 4;
    for (int i = 0; i < 32; ++i) {
      const int low = bytes[part * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
      const int high = bytes[layout.high_bits + static_cast<size_t>(part * 32 + i)] >> (quarter * 2) & 3;
      block.code[i] = low | high << 4;
    }
  }
}

}  // namespace

std::string weight_label(Stage stage) {
  const std::string_view own = info(stage).weight;
  return own.empty() ? fmt::format("{}.weight", name(stage)) : std::string(own);
}

Candidate with_weight(std::shared_ptr<OwnedMatrix> matrix, Text title, int fitted) {
  const Tensor* tensor = &matrix->tensor;
  return with_weight(tensor, std::move(title), std::move(matrix), fitted);
}

std::shared_ptr<OwnedMatrix> decoded(const Tensor& weight) {
  return read_rows(weight, [k = weight.dims[0]](const Tensor& all, int64_t row, double* values) {
    decode_row(all, row, {values, k});
  });
}

std::shared_ptr<OwnedMatrix> read_column_major(const Tensor& weight) {
  const size_t k = static_cast<size_t>(weight.dims[0]), n = static_cast<size_t>(row_count(weight));
  const std::shared_ptr<OwnedMatrix> buffer = decoded(weight);
  std::vector<float> misread(buffer->data.size());
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < k; ++j) misread[i * k + j] = buffer->data[j * n + i];
  }
  return owned(weight, std::move(misread));
}

std::shared_ptr<OwnedMatrix> reorder_rope_rows(const Tensor& weight, int64_t head_dim, int64_t first,
                                               bool to_pairs) {
  const size_t k = static_cast<size_t>(weight.dims[0]), rest = static_cast<size_t>(first),
               d = static_cast<size_t>(head_dim) - rest;
  const std::shared_ptr<OwnedMatrix> rows = decoded(weight);
  std::vector<float> moved(rows->data.size());
  for (size_t row = 0; row < moved.size() / k; ++row) {
    const size_t in_head = row % (d + rest), head = row - in_head + rest, i = in_head - rest;
    // Where a rotate-half row goes among pairs.
    const size_t pair = in_head < rest ? row : head + (i % (d / 2)) * 2 + i / (d / 2);
    const size_t from = to_pairs ? row : pair, to = to_pairs ? pair : row;
    std::copy_n(rows->data.begin() + static_cast<std::ptrdiff_t>(from * k), k,
                moved.begin() + static_cast<std::ptrdiff_t>(to * k));
  }
  return owned(weight, std::move(moved));
}

bool has_fields(TensorType type) { return layout_of(type) != nullptr; }

int code_bits(TensorType type) { return layout_of(type)->bits; }

bool has_minima(TensorType type) { return has_fields(type) && layout_of(type)->has_min; }

bool has_small_scales(TensorType type) { return has_fields(type) && layout_of(type)->bytes > 100; }

WeightBlocks blocks_of(const Tensor& weight, int64_t row) {
  const BlockLayout& layout = *layout_of(weight.type);
  const size_t of_each = has_small_scales(weight.type) ? 8 : 1;
  WeightBlocks blocks(weight.dims[0] / 32);
  const auto* bytes = reinterpret_cast<const uint8_t*>(
      row_bytes(weight, static_cast<uint64_t>(row), static_cast<uint64_t>(row_count(weight))).data());
  for (size_t b = 0; b < blocks.size(); b += of_each, bytes += layout.bytes) {
    if (of_each == 1) {
      blocks[b] = read_block(bytes, layout);
    } else {
      (weight.type == TensorType::q6_k ? read_q6 : read_k45)(bytes, layout, &blocks[b]);
    }
  }
  return blocks;
}

std::shared_ptr<OwnedMatrix> read_blocks(const Tensor& weight, const BlockReader& reader) {
  if (!has_minima(weight.type) || has_small_scales(weight.type)) return nullptr;
  auto matrix = std::make_shared<OwnedMatrix>();
  matrix->tensor = weight;
  matrix->tensor.order = {};
  for (int64_t row = 0; row < row_count(weight); ++row) {
    for (const WeightBlock& block : reader(weight, row)) {
      if (!append_block(block, *layout_of(weight.type), matrix->blocks)) return nullptr;
    }
  }
  matrix->tensor.data = matrix->blocks;
  return matrix;
}

std::shared_ptr<OwnedMatrix> read_rows(const Tensor& weight, const RowReader& reader) {
  const int64_t k = static_cast<int64_t>(weight.dims[0]), n = row_count(weight);
  std::vector<float> matrix(static_cast<size_t>(n * k));
  std::vector<double> row(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    reader(weight, i, row.data());
    std::copy(row.begin(), row.end(), matrix.begin() + i * k);
  }
  return owned(weight, std::move(matrix));
}

}  // namespace greta
