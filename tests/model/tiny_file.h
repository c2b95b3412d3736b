#pragma once
// The tiny model of an architecture (tests/goldens/architectures), bound: bytes that the Model points into.

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/archive.h"
#include "model/gguf.h"
#include "model/model.h"

namespace greta::test {

struct TinyFile {
  explicit TinyFile(const std::string& architecture)
      : files(read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + architecture + ".tgz",
                           [](const std::string&) { return true; })),
        model(bind_model(parse_gguf(gguf(), architecture))) {}

  std::span<const std::byte> gguf() const {
    for (const auto& [name, bytes] : files) {
      if (name.ends_with(".gguf")) return bytes;
    }
    throw std::runtime_error("no GGUF");
  }

  std::map<std::string, std::vector<std::byte>> files;
  Model model;
};

}  // namespace greta::test
