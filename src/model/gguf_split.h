#pragma once
// Models split into several GGUF files, as llama.cpp's llama-gguf-split does it: NAME-00002-of-00003.gguf has
// the keys split.no (1, from 0), split.count (3) and split.tensors.count (of all parts); the first has the
// metadata.

#include <string>
#include <vector>

#include "model/model_file.h"

namespace greta {

/// The paths of all parts of the set that `file` is of, itself among them, whether they are there or not;
/// none for a whole file and for one whose name is not that of its part.
std::vector<std::string> split_paths(const ModelFile& file);

/// The parts as one file, `path` for messages. Throws an input Error for a part that is another one than its
/// name says, of another set, or has tensors too many or too few.
ModelFile join_split(const std::string& path, const std::vector<std::string>& paths);

}  // namespace greta
