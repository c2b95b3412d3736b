#pragma once
// A checked weight matrix whose rows can be decoded to f64. Internal to this room.

#include <cstdint>

#include "model/tensor.h"
#include "numerics/block_codec.h"

namespace greta {

class WeightRows {
 public:
  /// Throws an input Error when the type has no decoder or the data do not fit the shape.
  explicit WeightRows(const Tensor& tensor);

  int64_t rows() const { return rows_; }
  int64_t length() const { return length_; }
  bool has_offset() const { return codec_->has_offset; }
  int64_t scale_group() const { return codec_->scale_group; }

  /// out[length]: the weights.
  void decode(int64_t row, double* out) const;
  /// As block_codec.h says: whole numbers, their scales, and minima if has_offset(). For formats of blocks.
  void decode_parts(int64_t row, const Parts& to) const;

 private:
  const uint8_t* bytes_of(int64_t row) const {
    return data_ + static_cast<int64_t>(order_.stored(static_cast<uint64_t>(row))) * (length_ / block_) *
                       block_bytes_;
  }

  const BlockCodec* codec_ = nullptr;
  const uint8_t* data_ = nullptr;
  RowOrder order_;
  int64_t rows_ = 0, length_ = 0, block_ = 1, block_bytes_ = 1;
};

}  // namespace greta
