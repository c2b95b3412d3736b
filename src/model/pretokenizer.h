#pragma once
// Splits text into the words that byte-level BPE merges within, as tokenizer.ggml.pre asks.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace greta {

/// What a value of tokenizer.ggml.pre stands for, besides its expressions.
struct PreTokenizerKind {
  std::string_view name;
  std::vector<std::string_view> expressions;  // applied in turn, each to the pieces that the one before left
  bool ignore_merges = false;  // a word that is a token is taken whole, whatever the merges say
  bool adds_bos = false;       // where the header does not say
};

/// The kind of a value of tokenizer.ggml.pre, or nullptr when it is not known.
/// The empty name (key absent) is llama.cpp's "default".
const PreTokenizerKind* find_pre_tokenizer(std::string_view name);

/// All names, sorted and joined by ", ", for messages.
std::string known_pre_tokenizers();

class PreTokenizer {
 public:
  explicit PreTokenizer(const PreTokenizerKind& kind);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  /// Words of `text` in order: they tile it.
  /// Bytes that are not UTF-8 become words of one byte. Linear in its size.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  class Expression;
  std::vector<Expression> expressions_;
};

}  // namespace greta
