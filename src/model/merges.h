#pragma once
// The merges of BPE: pairs of tokens that become one, the lowest rank first.

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "model/model_file.h"
#include "model/vocab.h"

namespace greta {

class Merges {
 public:
  void reserve(size_t count) { merges_.reserve(count); }
  /// Ranks are the order of adding; a pair that is there already keeps its rank. Every merge must make a
  /// longer text, so that merging ends.
  void add(TokenId left, TokenId right, TokenId result);

  /// Merges the symbols of a word until no pair is left: of the lowest rank the leftmost first. An id of -1
  /// is a symbol without a token: it merges with nothing and is left out. O(n log n).
  void apply(std::vector<TokenId>& symbols) const;

 private:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };
  const Merge* find(TokenId left, TokenId right) const;

  std::unordered_map<uint64_t, Merge> merges_;  // left id * 2^32 + right id
  uint32_t added_ = 0;
};

/// tokenizer.ggml.merges; an input Error when they are missing, and for a merge whose parts or result are not
/// in the vocabulary.
Merges read_merges(const ModelFile& file, const Vocab& vocab);

}  // namespace greta
