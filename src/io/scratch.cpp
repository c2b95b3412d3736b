#include "io/scratch.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace greta {

ScratchDirectory::ScratchDirectory(const std::string& name)
    : path_((std::filesystem::temp_directory_path() / (name + "-XXXXXX")).string()) {
  if (::mkdtemp(path_.data()) == nullptr) fail_machine("cannot make a directory {}", path_);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace greta
