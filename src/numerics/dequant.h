#pragma once
// GGUF weight formats decoded to f64, for the oracle only: kernels have their own code.

#include <cstdint>
#include <span>

#include "model/tensor.h"

namespace greta {

/// Row `row` of a weight matrix (dims[0] = row length) decoded exactly: out.size() == dims[0].
/// "Exactly" is the format's definition in real arithmetic
/// (d * q + m without rounding), which f64 holds for all types.
void decode_row(const Tensor& tensor, int64_t row, std::span<double> out);

/// Rows of a tensor: the product of dims[1..].
int64_t row_count(const Tensor& tensor);

/// True for the types that decode_row takes.
bool can_decode(TensorType type);

}  // namespace greta
