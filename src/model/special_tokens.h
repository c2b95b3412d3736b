#pragma once
// Special tokens written in the text: found before anything else looks at it.

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/vocab.h"

namespace greta {

/// A part of the text: a special token, or plain text between two of them.
struct Fragment {
  TokenId id = -1;  // -1: plain text
  std::string_view text;
};

class SpecialTokens {
 public:
  /// `strips_right(id)`: the tokens that swallow the white space after them. `vocab` must outlive this.
  SpecialTokens(const Vocab& vocab, std::vector<bool> strips_right);

  /// The fragments of `text` in order. Where tokens overlap the longest wins, then the smaller id, then the
  /// leftmost. Without `parse_special` only user-defined tokens are looked for:
  /// those belong to the text, not to the protocol.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;

 private:
  struct Node {
    TokenId id = -1;     // the token that ends here
    int32_t parent = 0;  // the nearest node towards the root that ends a token, or 0
    int32_t depth = 0;
  };
  struct Match {
    size_t at;
    int32_t node;
  };

  bool is_wanted(TokenId id, bool parse_special) const;
  int32_t shorter(int32_t node, bool parse_special) const;
  int32_t longest_at(std::string_view text, size_t at, bool parse_special) const;
  std::vector<Match> claim(std::string_view text, bool parse_special, std::vector<bool>& claimed) const;

  const Vocab& vocab_;
  std::vector<bool> strips_right_;
  std::vector<Node> nodes_;                         // a trie; 0 is the root
  std::unordered_map<uint64_t, int32_t> children_;  // node * 256 + byte -> node
  std::array<bool, 256> starts_{};                  // first bytes, so that most text is passed over quickly
  size_t longest_ = 0;
};

}  // namespace greta
