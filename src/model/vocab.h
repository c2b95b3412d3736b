#pragma once
// The token list of a GGUF header: texts, kinds, special ids. What every kind of tokenizer shares.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/model_file.h"
#include "model/tokenizer.h"

namespace greta {

/// Values are those of tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// No token may be longer: it bounds the work per character of the text, whatever the file says.
inline constexpr size_t kMaxTokenBytes = 4096;

class Vocab {
 public:
  /// Reads tokenizer.ggml.{tokens, token_type, *_token_id}; an input Error for missing or wrong ones: a count
  /// that differs from the tokens', a kind or id out of range,
  /// texts that are not UTF-8 or too long. A text that several ids have is the first one's.
  static Vocab from(const ModelFile& file);

  int32_t size() const { return static_cast<int32_t>(kinds_.size()); }
  size_t longest() const { return longest_; }  // bytes of the longest text
  TokenKind kind(TokenId id) const { return kinds_[static_cast<size_t>(id)]; }
  std::string_view text(TokenId id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(*texts_).substr(starts_[i], starts_[i + 1] - starts_[i]);
  }
  std::optional<TokenId> find(std::string_view text) const;

  std::optional<TokenId> bos() const { return bos_; }
  std::optional<TokenId> unknown() const { return unknown_; }
  /// Special tokens of the protocol between program and model: not to be read in text that a user wrote.
  bool is_protocol(TokenId id) const { return protocol_[static_cast<size_t>(id)]; }
  bool ends_generation(TokenId id) const { return ends_[static_cast<size_t>(id)]; }

 private:
  void read_texts(const ModelFile& file);
  void read_kinds(const ModelFile& file);
  void mark_protocol();
  void read_special_ids(const ModelFile& file);

  std::unique_ptr<std::string> texts_ = std::make_unique<std::string>();  // all texts; ids_ points into it
  std::vector<size_t> starts_;  // of each text, and the end of the last
  std::vector<TokenKind> kinds_;
  std::vector<bool> protocol_, ends_;
  std::unordered_map<std::string_view, TokenId> ids_;
  size_t longest_ = 0;
  std::optional<TokenId> bos_, unknown_;
};

}  // namespace greta
