#pragma once
// The added tokens of tokenizer.json, found in a text as tokenizers finds them: from left to right, the
// longest that begins there (tokenizers, src/tokenizer/added_vocabulary.rs).

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

  /// Parts of a well-formed text, in order. White space that a token swallows is gone. Without `special`,
  /// tokens that are special are text.
  std::vector<TextPart> split(std::string_view text, bool special) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at, size_t& length) const;

  std::vector<AddedToken> tokens_;
  std::vector<int32_t> ends_{-1};  // of a trie's nodes: the token that ends there; 0 is the root
  std::unordered_map<uint64_t, int32_t> children_;  // node * 256 + byte -> node
  std::array<bool, 256> starts_{};                  // first bytes, so that most text is passed over quickly
};

}  // namespace greta
