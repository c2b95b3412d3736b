#pragma once
// The model of tokenizer.json: BPE over the characters of a word.

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "model/merges.h"
#include "model/tokenizer_json/tokenizer_json.h"
#include "model/vocab.h"

namespace greta {

class JsonBpe {
 public:
  /// Input Errors: a model of another kind, merges of what are no tokens, options that GRETA does not know.
  /// `vocab` must outlive this.
  JsonBpe(const TokenizerJson& json, const Vocab& vocab);
  /// The first of these.
  static void refuse_other_kinds(const TokenizerJson& json);

  /// Appends the ids of a well-formed word. A character without a token becomes its byte tokens, or the
  /// unknown token, or nothing, as the model says.
  void encode(std::string_view word, std::vector<TokenId>& ids) const;
  /// Those of a byte that is no text; `letter` is it in the byte alphabet.
  void encode_byte(unsigned char byte, std::string_view letter, std::vector<TokenId>& ids) const;

 private:
  std::optional<TokenId> find(std::string_view text) const;
  void read_merges(const TokenizerJson& json);
  bool add_bytes(std::string_view character, std::vector<TokenId>& symbols) const;

  const Vocab& vocab_;
  std::vector<bool> in_model_;  // ids that are not only added
  Merges merges_;
  std::optional<TokenId> unknown_;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
  std::array<TokenId, 256> byte_ids_{};  // -1 where there is none
};

}  // namespace greta
