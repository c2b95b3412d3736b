#pragma once
// Weights as a wrong reader sees them: matrices made from the file's own, for hypotheses, in f32 or, where
// their minima have sums of their own (q8_1), in the file's type.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "judge/hypotheses/hypothesis.h"
#include "model/model.h"
#include "model/stage.h"

namespace greta {

/// Wq, Wk, ... as people write them; a norm's by the stage that it makes.
std::string weight_label(Stage stage);

/// A matrix [n, k] with its own data.
struct OwnedMatrix {
  std::vector<float> data;        // of f32
  std::vector<std::byte> blocks;  // of the file's type
  Tensor tensor;                  // over one of them
};

/// The stage with this matrix in the place of its weight.
Candidate with_weight(std::shared_ptr<OwnedMatrix> matrix, Text title, int fitted = 0);

/// The matrix as it is, row by row, rounded to f32 as engines dequantise it.
std::shared_ptr<OwnedMatrix> decoded(const Tensor& weight);

/// Element (i, j) from place j * n + i of the row-major buffer [n, k].
std::shared_ptr<OwnedMatrix> read_column_major(const Tensor& weight);

/// Rows within each head moved between RoPE's two orders: row 2 i + h of a head <-> row h * head_dim / 2 + i.
/// Those before `first` stay.
std::shared_ptr<OwnedMatrix> reorder_rope_rows(const Tensor& weight, int64_t head_dim, int64_t first,
                                               bool to_pairs);

/// The fields of 32 weights: value i is d * (scale[h] * code[i] - zero_scale[h] * offset) + m * min, of half
/// h = i / 16. Types without small scales and minima have ones there. A kernel that takes zero points off by
/// sums of activations reads their scale by itself.
struct WeightBlock {
  double d = 0, m = 0;
  int scale[2] = {1, 1}, zero_scale[2] = {1, 1};
  int min = 1;
  int offset = 0;
  int code[32] = {};

  double value(size_t i) const {
    return d * (scale[i / 16] * code[i] - zero_scale[i / 16] * offset) + m * min;
  }
};
using WeightBlocks = std::vector<WeightBlock>;  // of a row

/// Whether the fields of the type's blocks are known: the legacy types', and q4_k's, q5_k's and q6_k's.
bool has_fields(TensorType type);

/// Bits of a code.
int code_bits(TensorType type);

bool has_minima(TensorType type);
bool has_small_scales(TensorType type);

/// The fields of a row.
WeightBlocks blocks_of(const Tensor& weight, int64_t row);

/// A row as a wrong reader has it: values [k].
using RowReader = std::function<void(const Tensor& weight, int64_t row, double* values)>;

std::shared_ptr<OwnedMatrix> read_rows(const Tensor& weight, const RowReader& reader);

/// The fields of a row as a wrong reader has them.
using BlockReader = std::function<WeightBlocks(const Tensor& weight, int64_t row)>;

/// The matrix in its own type; nullptr where that cannot hold it, or need not.
std::shared_ptr<OwnedMatrix> read_blocks(const Tensor& weight, const BlockReader& reader);

}  // namespace greta
