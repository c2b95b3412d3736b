#pragma once
// tokenizer.json of Hugging Face's tokenizers as it is: the vocabulary and the merges as lists, all else as
// JSON. What of it GRETA does not compute is refused by whoever needs it (json_tokenizer.h), so that a model
// whose tokenizer is not known can still be judged.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer.h"

namespace greta {

struct AddedToken {
  TokenId id = -1;
  std::string text;
  bool single_word = false, strips_left = false, strips_right = false, normalized = false, special = false;
};

struct TokenizerJson {
  std::string path;                // for messages
  std::vector<std::string> texts;  // by id; empty: a hole
  std::vector<bool> in_model;      // by id: not only added
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<AddedToken> added;
  nlohmann::json rest;  // without the vocabulary, the merges and the added tokens
};

/// Input Errors, beginning with `path`: no JSON, a vocabulary or merges of another shape, an id twice or far
/// beyond the number of tokens.
TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& path);

}  // namespace greta
