#pragma once
// The added tokens of tokenizer.json, found in a text as tokenizers finds them: from left to right, the longest that
// begins there (tokenizers, src/tokenizer/added_vocabulary.rs).

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tokenizer_json/tokenizer_json.h"

namespace greta {

/// A token, or a text between two of them.
struct TextPart {
  TokenId id = -1;  // -1: text
  std::string_view text;
};

class AddedTokens {
 public:
  /// `spelling` is how a token stands in the texts that it is looked for in. Empty ones are never found.
  void add(const AddedToken& token, const std::string& spelling);

  /// Parts of a well-formed text, in order. White space that a token swallows is gone. Without `special`, tokens
  /// that are special are text.
  std::vector<TextPart> split(std::string_view text, bool special) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at, size_t& length) const;

  std::unordered_map<std::string, AddedToken> tokens_;    // by spelling
  std::array<std::vector<size_t>, 256> lengths_by_byte_;  // of those that begin so; descending
};

}  // namespace greta
