#include "numerics/dequant.h"

#include <array>

#include "base/error.h"
#include "numerics/block_codec.h"
#include "numerics/weight_rows.h"

namespace greta {

int64_t row_count(const Tensor& tensor) {
  return static_cast<int64_t>(tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
}

bool can_decode(TensorType type) { return find_block_codec(type) != nullptr; }

WeightRows::WeightRows(const Tensor& tensor) : length_(static_cast<int64_t>(tensor.dims[0])) {
  codec_ = find_block_codec(tensor.type);
  if (codec_ == nullptr) {
    fail_input("tensor {}: GRETA's oracle cannot decode type {}", tensor.name, name(tensor.type));
  }
  const TensorTypeInfo& layout = info(tensor.type);
  block_ = layout.block;
  block_bytes_ = layout.bytes;
  rows_ = row_count(tensor);
  if (length_ % block_ != 0) {
    fail_input("tensor {}: row length {} is no multiple of the {} block of {}", tensor.name, length_,
               name(tensor.type), block_);
  }
  const int64_t bytes = rows_ * (length_ / block_) * block_bytes_;
  if (static_cast<int64_t>(tensor.data.size()) != bytes) {
    fail_input("tensor {}: {} bytes of data where its shape needs {}", tensor.name, tensor.data.size(),
               bytes);
  }
  data_ = reinterpret_cast<const uint8_t*>(tensor.data.data());
  order_ = tensor.order;
}

void WeightRows::decode(int64_t row, double* out) const {
  if (codec_->scale_group == 0) {
    codec_->decode(bytes_of(row), length_ / block_, {out, nullptr, nullptr});
    return;
  }
  const uint8_t* block = bytes_of(row);
  std::array<double, 256 / kScaleGroup> scale, offset;
  for (int64_t i = 0; i < length_; i += block_, block += block_bytes_) {
    codec_->decode(block, 1, {out + i, scale.data(), offset.data()});
    for (size_t g = 0; g < static_cast<size_t>(block_ / kScaleGroup); ++g) {
      double* group = out + i + static_cast<int64_t>(g) * kScaleGroup;
      for (int64_t j = 0; j < kScaleGroup; ++j) group[j] *= scale[g];
      if (!codec_->has_offset) continue;  // a zero would keep its sign no longer
      for (int64_t j = 0; j < kScaleGroup; ++j) group[j] += offset[g];
    }
  }
}

void WeightRows::decode_parts(int64_t row, const Parts& to) const {
  codec_->decode(bytes_of(row), length_ / block_, to);
}

void decode_row(const Tensor& tensor, int64_t row, std::span<double> out) {
  const WeightRows rows(tensor);
  if (row < 0 || row >= rows.rows() || static_cast<int64_t>(out.size()) != rows.length()) {
    fail_machine("decode_row of {}: row {} of {} into {} values (row length {})", tensor.name, row,
                 rows.rows(), out.size(), rows.length());
  }
  rows.decode(row, out.data());
}

}  // namespace greta
