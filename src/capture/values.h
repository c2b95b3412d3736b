#pragma once
// Values of tensors as f32, wherever and in whatever type they are held.

#include <cstdint>
#include <string_view>
#include <vector>

#include "capture/ggml.h"

namespace greta::capture {

/// Whether values of this type can be read.
bool is_readable(std::string_view type);

/// A tensor's bytes, from its first value to its last; its values, by indices.
class Values {
 public:
  /// `tensor` is of a readable type and is_there().
  explicit Values(Tensor tensor);
  float at(int64_t i0, int64_t i1, int64_t i2 = 0, int64_t i3 = 0) const;
  /// i0 = 0, 1, ..., count - 1.
  void append_row(std::vector<float>& to, int64_t count, int64_t i1, int64_t i2 = 0, int64_t i3 = 0) const;

 private:
  enum class Type { f32, f16, bf16, q8_0, i32 };
  const char* place(size_t first, int64_t i1, int64_t i2, int64_t i3) const;
  Type type_;
  size_t nb_[4];
  std::vector<char> bytes_;
};

/// Of i32 or i64; empty for another type, or where there is no memory.
std::vector<int64_t> integers(Tensor tensor);

}  // namespace greta::capture
