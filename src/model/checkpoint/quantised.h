#pragma once
// Matrices that a checkpoint stores quantised: fp8 with scales of blocks, rows or the tensor; GPTQ; AWQ;
// MXFP4 of gpt-oss; compressed-tensors with integers or fp8. Each value is (code - zero) * scale, rounded
// once to f32.

#include <nlohmann/json.hpp>
#include <string>

#include "model/checkpoint/storage.h"
#include "model/checkpoint/tensor_table.h"

namespace greta {

/// Puts an F32 matrix in the place of codes, scales, zeros and what else tells of them. `config` is
/// config.json's quantization_config, or null: then nothing may be stored so. Input Errors: a method or a
/// form that is not known (by its name), a part that is missing, shapes that do not fit each other.
void decode_quantised(const nlohmann::json& config, const std::string& where, Storage& storage,
                      TensorTable& tensors);

}  // namespace greta
