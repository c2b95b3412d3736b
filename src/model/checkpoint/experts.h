#pragma once
// The experts of a layer as checkpoints keep them: a tensor for each expert's matrix, or gate and up of all
// in one. GGUF, and GRETA, have one tensor [experts, rows, columns] of each of the three.

#include <string>

#include "model/checkpoint/kind.h"
#include "model/checkpoint/storage.h"
#include "model/checkpoint/tensor_table.h"

namespace greta {

/// [experts, columns, rows] of X.experts.gate_up_proj and X.experts.down_proj as [experts, rows, columns] (a
/// copy). What is quantised has another name yet, and its rows are rows.
void turn_experts(Storage& storage, TensorTable& tensors);

/// Joins (a copy) X.experts.N.gate_proj.weight, up_proj, down_proj, also under Mixtral's names (w1, w3, w2),
/// and cuts X.experts.gate_up_proj [experts, 2 rows, columns] and its _bias [experts, 2 rows], into
/// X.experts.gate_proj.weight, ... Input Errors: numbers that are missing, experts of different shapes or
/// types.
void join_experts(FusedExperts form, Storage& storage, TensorTable& tensors);

}  // namespace greta
