#pragma once
// Weights as a wrong reader sees them: f32 matrices made from the file's own, for hypotheses.

#include <memory>
#include <vector>

#include "model/model.h"
#include "model/stage.h"

namespace greta::isolate {

/// The weight that makes a stage: a projection's matrix or a norm's vector; nullptr for other stages and
/// layers that the model does not have.
const GgufTensor* weight_of(const Model& model, Stage stage, int layer);

/// Stages whose weights are easily taken for this one's.
std::vector<Stage> siblings_of(Stage stage);

/// A matrix [n, k] with its own data.
struct OwnedMatrix {
  std::vector<float> data;
  GgufTensor tensor;  // f32, over `data`
};

/// Element (i, j) from place j * n + i of the row-major buffer [n, k].
std::shared_ptr<OwnedMatrix> read_column_major(const GgufTensor& weight);

/// Rows within each head moved between RoPE's two orders: row 2 i + h of a head <-> row h * head_dim / 2 + i.
std::shared_ptr<OwnedMatrix> reorder_rope_rows(const GgufTensor& weight, int64_t head_dim, bool to_pairs);

}  // namespace greta::isolate
