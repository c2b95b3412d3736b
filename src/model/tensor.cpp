#include "model/tensor.h"

namespace greta {

std::span<const std::byte> row_bytes(const Tensor& tensor, uint64_t row, uint64_t count) {
  const size_t size = tensor.data.size() / count;
  return tensor.data.subspan(tensor.order.stored(row) * size, size);
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
