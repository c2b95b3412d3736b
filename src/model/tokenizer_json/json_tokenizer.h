#pragma once
// A tokenizer as tokenizer.json describes it: added tokens, normalizer, pre-tokenizer, BPE, post-processor.

#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"
#include "model/tokenizer_json/added_tokens.h"
#include "model/tokenizer_json/json_bpe.h"
#include "model/tokenizer_json/normalizer.h"
#include "model/tokenizer_json/word_splitter.h"

namespace greta {

class JsonTokenizer {
 public:
  /// Input Errors for what GRETA does not compute. `file` says of BOS and EOS what tokenizer_config.json
  /// does. `vocab` must outlive this.
  JsonTokenizer(const TokenizerJson& json, const ModelFile& file, const Vocab& vocab);

  /// Appends the ids of `text`. Bytes that are not UTF-8 become tokens one by one.
  void encode(std::string_view text, bool parse_special, std::vector<TokenId>& ids) const;

  /// What the post-processor puts before and after a text.
  const std::vector<TokenId>& prefix() const { return prefix_; }
  const std::vector<TokenId>& suffix() const { return suffix_; }

  /// The bytes that a token adds to the output.
  std::string bytes_of(TokenId id) const;
  /// Whether a space is put before the text.
  bool has_space_prefix() const { return space_prefix_; }

 private:
  void encode_valid(std::string_view text, bool at_start, bool parse_special,
                    std::vector<TokenId>& ids) const;
  void read_post_processor(const nlohmann::json& of, const std::string& where);
  void read_decoder(const nlohmann::json& of, const std::string& where);

  const Vocab& vocab_;
  AddedTokens raw_, normalized_;  // found before the normalizer, and after it
  Normalizer normalizer_;
  WordSplitter splitter_;
  JsonBpe bpe_;
  std::vector<TokenId> prefix_, suffix_;
  bool letters_ = false, marks_ = false;  // texts of tokens: bytes as letters, spaces as U+2581
  bool space_prefix_ = false;
};

}  // namespace greta
