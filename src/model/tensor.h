#pragma once
// A tensor of a model's file: where its values lie, and in which order its rows.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/tensor_type.h"

namespace greta {

/// Where a matrix's rows lie, by the order in which they are read. A checkpoint of Hugging Face keeps those
/// of a llama's Wq and Wk so that RoPE turns the two halves of a head; GGUF, and GRETA, turn neighbours.
struct RowOrder {
  uint64_t halves = 0;  // rows of a head that lie as halves and are read as pairs; 0: as they are read

  /// Where row `row` lies: of pair i of a head, the first is row i, the second row halves / 2 + i.
  uint64_t stored(uint64_t row) const {
    if (halves == 0) return row;
    const uint64_t in_head = row % halves;
    return row - in_head + in_head % 2 * (halves / 2) + in_head / 2;
  }
  bool operator==(const RowOrder&) const = default;
};

struct Tensor {
  std::string_view name;
  TensorType type = TensorType::f32;
  int n_dims = 0;
  // GGUF order: dims[0] is the contiguous one (K of a weight matrix); 1 beyond n_dims.
  std::array<uint64_t, 4> dims{1, 1, 1, 1};
  std::span<const std::byte> data;  // empty when GRETA does not know the type
  RowOrder order = {};              // of a matrix: dims[1] is a multiple of order.halves
};

/// The bytes of row `row` of a tensor of `count` equal rows.
std::span<const std::byte> row_bytes(const Tensor& tensor, uint64_t row, uint64_t count);

/// Rows [first, first + count) of a matrix as one of its own; where they are in the order of halves, whole
/// heads.
Tensor some_rows(const Tensor& matrix, uint64_t first, uint64_t count);

/// Those of rows [first, first + wanted), one after the other.
std::vector<std::byte> copy_rows(const Tensor& tensor, uint64_t first, uint64_t wanted, uint64_t count);

}  // namespace greta
