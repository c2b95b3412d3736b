#pragma once
// SentencePiece's BPE: the characters of a text, merged pair by pair into the tokens with the best scores.

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocab.h"

namespace greta {

class SentencePiece {
 public:
  /// Reads tokenizer.ggml.scores; an input Error when they are missing, as many as the tokens they are not,
  /// or one is no number. `vocab` must outlive this.
  SentencePiece(const ModelFile& file, const Vocab& vocab);

  /// Appends the ids of `text`, in which spaces become U+2581. Characters without a token become their byte
  /// tokens, bytes without one the unknown token, if the model has one. O(n log n).
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

  /// The bytes that a token adds to the output.
  std::string bytes_of(TokenId id) const;

 private:
  struct Symbol;
  struct Candidate;

  void emit(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocab& vocab_;
  std::vector<float> scores_;
  std::array<TokenId, 256> byte_ids_{};  // -1 where there is none
};

}  // namespace greta
