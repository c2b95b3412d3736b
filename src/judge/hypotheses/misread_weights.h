#pragma once
// Weights as a wrong reader sees them: f32 matrices made from the file's own, for hypotheses.

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
  std::vector<float> data;
  GgufTensor tensor;  // f32, over `data`
};

/// The stage with this matrix in the place of its weight.
Candidate with_weight(std::shared_ptr<OwnedMatrix> matrix, Text title, int fitted = 0);

/// The matrix as it is, row by row, rounded to f32 as engines dequantise it.
std::shared_ptr<OwnedMatrix> decoded(const GgufTensor& weight);

/// Element (i, j) from place j * n + i of the row-major buffer [n, k].
std::shared_ptr<OwnedMatrix> read_column_major(const GgufTensor& weight);

/// Rows within each head moved between RoPE's two orders: row 2 i + h of a head <-> row h * head_dim / 2 + i.
std::shared_ptr<OwnedMatrix> reorder_rope_rows(const GgufTensor& weight, int64_t head_dim, bool to_pairs);

/// One block of 32 weights: value i is d * (code[i] - offset) + m.
struct WeightBlock {
  double d = 0, m = 0;
  int offset = 0;
  int code[32] = {};
};

/// The matrix, of a type that has_blocks(), as a reader makes it that mistakes its blocks: `misread` sees the
/// blocks of a row and writes what it takes them for.
std::shared_ptr<OwnedMatrix> read_blocks(
    const GgufTensor& weight,
    const std::function<void(const std::vector<WeightBlock>&, float* row)>& misread);

}  // namespace greta
