#include "model/gguf.h"

namespace greta {

ModelFile open_model_file(const std::string& path) { return open_gguf(path); }

}  // namespace greta
