#pragma once
// Text to token ids and back, as the model's GGUF header describes it.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"

namespace greta {

using TokenId = int32_t;

class Tokenizer {
 public:
  /// Reads tokenizer.ggml.*, or a checkpoint's tokenizer.json; throws an input Error for a kind or
  /// pre-tokenizer that is not known (the message lists those that are), and for arrays that disagree with
  /// each other.
  static Tokenizer from(const ModelFile& file);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  int32_t vocab_size() const;

  /// `parse_special`: special tokens written in the text become their ids. `add_bos`: put BOS first where the
  /// model's header asks for one, and whatever else a checkpoint's post-processor puts around a text. Invalid
  /// UTF-8 is tokenized byte by byte, never refused.
  std::vector<TokenId> encode(std::string_view text, bool add_bos, bool parse_special = true) const;

  /// The bytes of the ids joined, less the space that SentencePiece models put before the text, so that
  /// decode() undoes encode() wherever the vocabulary has a token for every byte; `show_special` prints
  /// special tokens as their text. Throws an input Error for an id outside the vocabulary.
  std::string decode(std::span<const TokenId> ids, bool show_special = true) const;

  /// The bytes that one token adds to the output (streaming); empty for special tokens unless `show_special`.
  std::string piece(TokenId id, bool show_special = false) const;

  bool adds_bos() const;  // what the header asks for
  std::optional<TokenId> bos() const;
  /// True for the tokens that end a turn (EOS, EOT, <|im_end|>, <end_of_turn>, ...).
  bool ends_generation(TokenId id) const;
  std::optional<TokenId> find(std::string_view token_text) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace greta
