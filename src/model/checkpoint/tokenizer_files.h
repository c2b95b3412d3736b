#pragma once
// tokenizer.json, tokenizer_config.json, generation_config.json and the chat template of a checkpoint, as the
// keys of a GGUF's tokenizer.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "model/checkpoint/storage.h"
#include "model/tokenizer_json/tokenizer_json.h"

namespace greta {

/// Adds the keys to `metadata`; tokens without a row of the embedding table are left out, rows without a
/// token are named [PADn]. `config` is config.json. nullptr where there is no tokenizer.json: the model can
/// still be judged. Input Errors name the file and what is wrong with it.
std::shared_ptr<const TokenizerJson> read_tokenizer_files(const std::string& directory,
                                                          const nlohmann::json& config, uint64_t rows,
                                                          MetadataBuilder& metadata);

}  // namespace greta
