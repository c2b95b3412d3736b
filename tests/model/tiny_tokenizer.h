#pragma once
// Small vocabularies for tests and fuzzers, as GGUF headers.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf_builder.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace greta::test {

/// GPT-2's printable character for a byte, from its definition:
/// 188 bytes stand for themselves, the others follow.
inline std::string byte_letter(int byte) {
  const auto visible = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  int code_point = byte;
  if (!visible(byte)) {
    code_point = 256;
    for (int b = 0; b < byte; ++b) code_point += !visible(b);
  }
  if (code_point < 128) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

struct TinyVocab {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  TokenId add(std::string_view text, int32_t type = 1, float score = 0) {
    tokens.emplace_back(text);
    types.push_back(type);
    scores.push_back(score);
    return static_cast<TokenId>(tokens.size()) - 1;
  }
  void write(GgufBuilder& file) const {
    file.set_strings("tokenizer.ggml.tokens", tokens);
    file.set_array("tokenizer.ggml.token_type", types);
  }
};

// Ids of tiny_bpe(): byte b is token b.
inline constexpr TokenId kBos = 256, kEnd = 257, kEndLong = 258, kTag = 259, kAa = 260, kAb = 261,
                         kAaaa = 262;

/// Byte-level BPE: all bytes, control tokens <s>, <|e|> and <|e|>>, the user-defined <b>, and three merges:
/// a a (rank 0), a b (1), aa aa (2).
inline GgufBuilder tiny_bpe() {
  TinyVocab vocab;
  for (int byte = 0; byte < 256; ++byte) vocab.add(byte_letter(byte));
  vocab.add("<s>", 3), vocab.add("<|e|>", 3), vocab.add("<|e|>>", 3), vocab.add("<b>", 4);
  vocab.add("aa"), vocab.add("ab"), vocab.add("aaaa");
  GgufBuilder file;
  vocab.write(file);
  file.set_string("tokenizer.ggml.model", "gpt2").set_string("tokenizer.ggml.pre", "gpt-2");
  file.set_strings("tokenizer.ggml.merges", {"a a", "a b", "aa aa"});
  file.set("tokenizer.ggml.bos_token_id", uint32_t{kBos}).set("tokenizer.ggml.eos_token_id", uint32_t{kEnd});
  return file;
}

// Ids of tiny_spm(): byte b is token 3 + b.
inline constexpr TokenId kUnk = 0, kSpmBos = 1, kSpmEos = 2, kSpmByte = 3, kSpace = 259, kX = 260, kY = 261,
                         kXy = 262, kYx = 263, kSpaceX = 264, kSpmTag = 265;

/// SentencePiece: <unk>, <s>, </s>, byte tokens, U+2581, x, y, and the merges xy (score -1), yx (-2), U+2581
/// x (-3); the user-defined <b>.
inline GgufBuilder tiny_spm() {
  TinyVocab vocab;
  vocab.add("<unk>", 2), vocab.add("<s>", 3), vocab.add("</s>", 3);
  constexpr std::string_view hex = "0123456789ABCDEF";
  for (size_t b = 0; b < 256; ++b) {
    std::string text = "<0x";
    vocab.add(text.append(1, hex[b >> 4]).append(1, hex[b & 15]).append(">"), 6);
  }
  vocab.add("\u2581", 1, -10), vocab.add("x", 1, -10), vocab.add("y", 1, -10);
  vocab.add("xy", 1, -1), vocab.add("yx", 1, -2), vocab.add("\u2581x", 1, -3), vocab.add("<b>", 4);
  GgufBuilder file;
  vocab.write(file);
  file.set_string("tokenizer.ggml.model", "llama").set_array("tokenizer.ggml.scores", vocab.scores);
  file.set("tokenizer.ggml.bos_token_id", uint32_t{kSpmBos})
      .set("tokenizer.ggml.eos_token_id", uint32_t{kSpmEos});
  return file;
}

/// The tokenizer of a header; it keeps nothing of the bytes.
inline Tokenizer tokenizer_of(const GgufBuilder& file) {
  const Bytes bytes = file.build();
  return Tokenizer::from(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"));
}

}  // namespace greta::test
