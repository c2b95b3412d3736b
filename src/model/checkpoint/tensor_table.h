#pragma once
// A checkpoint's tensors by their own names, before GGUF's words are found for them.

#include <map>
#include <string>

#include "io/safetensors.h"

namespace greta {

struct StoredTensor {
  TensorView view;
  std::string path;  // of its file, for messages
};

using TensorTable = std::map<std::string, StoredTensor>;

}  // namespace greta
