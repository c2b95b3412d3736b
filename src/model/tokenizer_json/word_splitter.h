#pragma once
// The pre-tokenizer of tokenizer.json: cuts a normalized text into the words that merges stay within.

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/tokenizer_json/pattern.h"

namespace greta {

struct Word {
  std::string text;
  bool at_start = false;  // it is where the whole text begins
};

class WordSplitter {
 public:
  /// null leaves the text whole. `where` begins the messages of input Errors: a kind that GRETA does not
  /// know.
  WordSplitter(const nlohmann::json& json, const std::string& where);

  /// Of a well-formed text; no word is empty. What a step removes is gone.
  std::vector<Word> operator()(Word text) const;

 private:
  std::vector<std::function<std::vector<Word>(const Word&)>> steps_;
};

/// The field "pattern": {"String": text} or {"Regex": expression}.
Pattern read_pattern(const nlohmann::json& of, const std::string& where);

}  // namespace greta
