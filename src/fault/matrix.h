#pragma once
// Wrong weights made from right ones: their values edited (then multiplied by the f32 kernel), or the bytes
// of their blocks in the file (then packed and multiplied by the same kernel).

#include <cstddef>
#include <vector>

#include "fault/twin.h"

namespace greta {

/// W [n, k] dequantised, row-major.
struct Matrix {
  std::vector<float> data;
  int64_t n = 0;
  int64_t k = 0;
  float& at(int64_t row, int64_t col) { return data[static_cast<size_t>(row * k + col)]; }
};

/// The projection with its weight's values edited.
MakeWrong edited(void (*edit)(Matrix& weight, const TwinSite& site));

/// The blocks of one row of a weight as the file has them.
struct BlockRow {
  std::byte* data = nullptr;
  int64_t blocks = 0;
  int64_t block_bytes = 0;
  int64_t row = 0;

  std::byte* block(int64_t index) const { return data + index * block_bytes; }
};

/// Weight types that an edit of blocks makes sense for.
enum class BlockTypes { q4_1, four_bit, quantised };

/// The projection with the bytes of each row's blocks edited. The twin can't be made (an input Error) for a
/// weight of another type.
MakeWrong edited_blocks(BlockTypes types, void (*edit)(const BlockRow& row));

}  // namespace greta
