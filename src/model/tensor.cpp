#include "model/tensor.h"

namespace greta {

std::span<const std::byte> row_bytes(const Tensor& tensor, uint64_t row, uint64_t count) {
  const size_t size = tensor.data.size() / count;
  return tensor.data.subspan(tensor.order.stored(row) * size, size);
}

Tensor some_rows(const Tensor& matrix, uint64_t first, uint64_t count) {
  const size_t row_size = matrix.data.size() / matrix.dims[1];
  Tensor some = matrix;
  some.dims[1] = count;
  some.data = matrix.data.subspan(first * row_size, count * row_size);
  return some;
}

std::vector<std::byte> copy_rows(const Tensor& tensor, uint64_t first, uint64_t wanted, uint64_t count) {
  std::vector<std::byte> rows;
  for (uint64_t row = first; row < first + wanted; ++row) {
    const auto bytes = row_bytes(tensor, row, count);
    rows.insert(rows.end(), bytes.begin(), bytes.end());
  }
  return rows;
}

}  // namespace greta
