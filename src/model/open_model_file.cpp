#include <filesystem>

#include "model/checkpoint/checkpoint.h"
#include "model/gguf.h"

namespace greta {

ModelFile open_model_file(const std::string& path) {
  std::error_code none;
  return std::filesystem::is_directory(path, none) ? open_checkpoint(path) : open_gguf(path);
}

}  // namespace greta
