#pragma once
// GGUF v2/v3 reader over a memory map. No field of the file is used for arithmetic, allocation or indexing
// before it is checked against the file's size with overflow-checked arithmetic; a bad file is an input Error
// that names the file, the place and what was expected.

#include <span>
#include <string>

#include "model/model_file.h"

namespace greta {

/// Maps and checks the whole header; tensor data is not touched. Of a split model any part opens the whole
/// where all are side by side, and is itself where one is missing. Throws an input Error.
ModelFile open_gguf(const std::string& path);

/// The same on bytes in memory (tests, fuzzers);
/// `label` stands for the path in messages. `bytes` must outlive it.
ModelFile parse_gguf(std::span<const std::byte> bytes, const std::string& label);

}  // namespace greta
