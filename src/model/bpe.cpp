#include "model/bpe.h"

#include "base/error.h"
#include "base/utf8.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

// GPT-2 writes bytes as printable characters: those of Latin-1 that are visible stand for themselves, the
// other 68 bytes follow in order from U+0100 on.
constexpr bool is_visible(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr int kAlphabetEnd = 0x100 + 68;  // one past the last character of the alphabet

struct ByteAlphabet {
  std::array<int, 256> code_points{};
  std::array<int, kAlphabetEnd> bytes{};  // -1: not of the alphabet
};

constexpr ByteAlphabet make_alphabet() {
  ByteAlphabet alphabet;
  for (int& byte : alphabet.bytes) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int code_point = is_visible(byte) ? byte : next++;
    alphabet.code_points[static_cast<size_t>(byte)] = code_point;
    alphabet.bytes[static_cast<size_t>(code_point)] = byte;
  }
  return alphabet;
}

constexpr ByteAlphabet kAlphabet = make_alphabet();

void append_letter(unsigned char byte, std::string& text) {
  const int code_point = kAlphabet.code_points[byte];
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else {
    text += static_cast<char>(0xc0 | (code_point >> 6));
    text += static_cast<char>(0x80 | (code_point & 0x3f));
  }
}

const PreTokenizerKind& read_kind(const ModelFile& file) {
  const std::string_view name = file.find_string("tokenizer.ggml.pre").value_or("");
  const PreTokenizerKind* kind = find_pre_tokenizer(name);
  if (!kind) {
    fail_input("{}: tokenizer.ggml.pre is '{}', a pre-tokenizer that GRETA does not know; known: {}",
               file.path(), excerpt(name), known_pre_tokenizers());
  }
  return *kind;
}

}  // namespace

Bpe::Bpe(const ModelFile& file, const Vocab& vocab)
    : vocab_(vocab), kind_(read_kind(file)), pre_tokenizer_(kind_), merges_(read_merges(file, vocab)) {
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string letter;
    append_letter(static_cast<unsigned char>(byte), letter);
    byte_ids_[byte] = vocab.find(letter).value_or(-1);
  }
}

void Bpe::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (kind_.ignore_merges) {
    if (const auto whole = vocab_.find(letters_of(word))) return ids.push_back(*whole);
  }
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  merges_.apply(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void Bpe::encode(std::string_view text, std::vector<TokenId>& ids) const {
  for (const auto word : pre_tokenizer_.split(text)) encode_word(word, ids);
}

std::string Bpe::letters_of(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_letter(static_cast<unsigned char>(byte), text);
  return text;
}

std::string Bpe::bytes_of(std::string_view token_text) {
  std::string bytes;
  for (size_t at = 0; at < token_text.size();) {
    const size_t length = utf8_length(token_text, at);
    const auto lead = static_cast<unsigned char>(token_text[at]);
    int code_point = lead;
    if (length == 2)
      code_point = (lead & 0x1f) << 6 | (static_cast<unsigned char>(token_text[at + 1]) & 0x3f);
    if (length == 0 || length > 2 || code_point >= kAlphabetEnd) return std::string(token_text);
    const int byte = kAlphabet.bytes[static_cast<size_t>(code_point)];
    if (byte < 0) return std::string(token_text);
    bytes += static_cast<char>(byte);
    at += length;
  }
  return bytes;
}

}  // namespace greta
