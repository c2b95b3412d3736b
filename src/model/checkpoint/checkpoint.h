#pragma once
// A Hugging Face checkpoint directory as a model file: config.json, safetensors shards (mapped, not loaded),
// the tokenizer. Tensors have GGUF's names and the order of its rows; what differs in memory is small: norms
// and biases are f32.

#include <string>

#include "model/model_file.h"

namespace greta {

/// Throws an input Error that names the file, what is wrong with it and what to do.
ModelFile open_checkpoint(const std::string& directory);

}  // namespace greta
