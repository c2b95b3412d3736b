#pragma once
// The hyperparameters of a model, read from the metadata and checked against each other.

#include "model/architecture.h"
#include "model/model.h"
#include "model/model_file.h"

namespace greta {

/// After the architecture's name: whether YaRN's borders are rounded to whole pairs. GGUF has no such key; a
/// directory's configuration says it.
inline constexpr std::string_view kYarnTruncate = "rope.scaling.yarn_truncate";

/// Throws an input Error naming the key, its value and what it must be. Tensor shapes are not looked at, but
/// for n_vocab: the rows of token_embd.
ModelConfig read_config(const ModelFile& file, const Architecture& architecture);

/// Throws an input Error when the file needs something of its architecture that GRETA does not compute.
void refuse_unsupported(const ModelFile& file, const Architecture& architecture);

}  // namespace greta
