#pragma once
// SentencePiece's BPE: the characters of a text, merged pair by pair into the tokens with the best scores, or
// (Gemma 4) in the order of merges.

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "model/merges.h"
#include "model/vocab.h"

namespace greta {

class SentencePiece {
 public:
  /// Reads tokenizer.ggml.scores, of a tokenizer.ggml.model "gemma4" the merges; an input Error when they are
  /// missing, as many scores as tokens they are not, or one is no number. `vocab` must outlive this.
  SentencePiece(const ModelFile& file, const Vocab& vocab);

  /// Appends the ids of `text`, in which spaces become U+2581. Characters without a token become their byte
  /// tokens, bytes without one the unknown token, if the model has one. O(n log n).
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

  /// The bytes that a token adds to the output.
  std::string bytes_of(TokenId id) const;

 private:
  struct Symbol;
  struct Candidate;

  void read_scores(const ModelFile& file);
  void encode_by_rank(std::string_view text, std::vector<TokenId>& ids) const;
  void emit(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocab& vocab_;
  std::vector<float> scores_;
  std::optional<Merges> merges_;         // in the place of scores
  std::array<TokenId, 256> byte_ids_{};  // -1 where there is none
};

}  // namespace greta
