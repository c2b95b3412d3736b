#pragma once
// Byte-level BPE: the bytes of a word, each a symbol, merged pair by pair in the order of the ranks.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/merges.h"
#include "model/pretokenizer.h"
#include "model/vocab.h"

namespace greta {

class Bpe {
 public:
  /// Reads tokenizer.ggml.{pre, merges}; an input Error when they are missing or not known, and for a merge
  /// whose parts or result are not in the vocabulary. `vocab` must outlive this.
  Bpe(const ModelFile& file, const Vocab& vocab);

  /// Appends the ids of `text`. A byte that the vocabulary has no token for adds nothing (SmolLM2 lacks a few
  /// that do not occur in UTF-8, or hardly). O(n log n) in the size of the text, whatever its words are.
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

  /// The bytes that a token's text stands for; the text itself when it is not written in the byte alphabet.
  static std::string bytes_of(std::string_view token_text);
  /// The byte alphabet's letters for them.
  static std::string letters_of(std::string_view bytes);

  const PreTokenizerKind& kind() const { return kind_; }

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;

  const Vocab& vocab_;
  const PreTokenizerKind& kind_;
  PreTokenizer pre_tokenizer_;
  std::array<TokenId, 256> byte_ids_{};  // -1 where there is none
  Merges merges_;
};

}  // namespace greta
