#include "model/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>
#include <variant>

#include "base/error.h"
#include "model/bpe.h"
#include "model/gguf_cursor.h"
#include "model/sentencepiece.h"
#include "model/special_tokens.h"
#include "model/tokenizer_json/json_tokenizer.h"
#include "model/vocab.h"

namespace greta {
namespace {

using Method = std::variant<Bpe, SentencePiece, JsonTokenizer>;

/// Says before all else what is missing.
const ModelFile& with_tokenizer(const ModelFile& file) {
  if (file.tokenizer_json() != nullptr) {
    JsonBpe::refuse_other_kinds(*file.tokenizer_json());
  } else if (std::filesystem::is_directory(file.path()) && file.find("tokenizer.ggml.tokens") == nullptr) {
    fail_input("{}: has no tokenizer.json; save the tokenizer again with transformers", file.path());
  }
  return file;
}

Method read_method(const ModelFile& file, const Vocab& vocab) {
  if (const TokenizerJson* json = file.tokenizer_json())
    return Method(std::in_place_type<JsonTokenizer>, *json, file, vocab);
  const auto model = file.find_string("tokenizer.ggml.model");
  if (!model) fail_input("{}: tokenizer.ggml.model is missing: the file has no tokenizer", file.path());
  if (*model == "gpt2") return Method(std::in_place_type<Bpe>, file, vocab);
  if (*model == "llama" || *model == "gemma4") return Method(std::in_place_type<SentencePiece>, file, vocab);
  fail_input("{}: tokenizer.ggml.model is '{}', a kind that GRETA does not know; known: gpt2, llama, gemma4",
             file.path(), excerpt(*model));
}

// Phi-3's special tokens swallow the white space that follows. The header can't say so: llama.cpp knows the
// model by its name, and files are made for llama.cpp.
std::vector<bool> strips_right(const ModelFile& file, const Vocab& vocab) {
  std::string name(file.find_string("general.name").value_or(""));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; });
  const bool is_phi3 = name.find("phi-3") != name.npos || name.find("phi3") != name.npos;
  std::vector<bool> strips(static_cast<size_t>(vocab.size()), is_phi3);
  for (const std::string_view text : {"<unk>", "<s>", "<|endoftext|>"}) {
    if (const auto id = vocab.find(text)) strips[static_cast<size_t>(*id)] = false;
  }
  return strips;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(const ModelFile& file)
      : vocab(Vocab::from(with_tokenizer(file))),
        method(read_method(file, vocab)),
        specials(vocab, strips_right(file, vocab)) {
    if (const auto* json = std::get_if<JsonTokenizer>(&method)) {
      space_prefix = json->has_space_prefix();
      adds_bos = !json->prefix().empty();
      return;
    }
    const auto* sentencepiece = std::get_if<SentencePiece>(&method);
    const bool gemma4 =
        file.find_string("tokenizer.ggml.model") == "gemma4";  // as llama.cpp: a BOS, no space
    space_prefix =
        sentencepiece && !gemma4 && file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
    adds_bos = file.find_bool("tokenizer.ggml.add_bos_token")
                   .value_or(sentencepiece ? true : std::get<Bpe>(method).kind().adds_bos);
    adds_bos = adds_bos || gemma4;
    if (adds_bos && !vocab.bos()) {
      fail_input(
          "{}: the tokenizer wants a BOS token first (tokenizer.ggml.add_bos_token), but "
          "tokenizer.ggml.bos_token_id is missing",
          file.path());
    }
  }

  void encode(std::string_view text, bool after_special, std::vector<TokenId>& ids) const {
    if (const auto* bpe = std::get_if<Bpe>(&method)) return bpe->encode(text, ids);
    const auto& sentencepiece = std::get<SentencePiece>(method);
    if (!space_prefix || !after_special) return sentencepiece.encode(text, ids);
    sentencepiece.encode(std::string(" ").append(text), ids);
  }

  bool is_hidden(TokenId id) const {
    const TokenKind kind = vocab.kind(id);
    return kind == TokenKind::control || kind == TokenKind::unknown || kind == TokenKind::unused;
  }

  std::string piece(TokenId id, bool show_special) const {
    if (id < 0 || id >= vocab.size())
      fail_input("token id {} is outside the vocabulary, 0 to {}", id, vocab.size() - 1);
    if (is_hidden(id)) return show_special ? std::string(vocab.text(id)) : std::string();
    if (const auto* sentencepiece = std::get_if<SentencePiece>(&method)) return sentencepiece->bytes_of(id);
    if (const auto* json = std::get_if<JsonTokenizer>(&method)) return json->bytes_of(id);
    if (vocab.kind(id) == TokenKind::user_defined) return std::string(vocab.text(id));
    return Bpe::bytes_of(vocab.text(id));
  }

  Vocab vocab;
  Method method;
  SpecialTokens specials;
  bool space_prefix = false;  // SentencePiece puts a space before the text
  bool adds_bos = false;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from(const ModelFile& file) { return Tokenizer(std::make_unique<Impl>(file)); }

int32_t Tokenizer::vocab_size() const { return impl_->vocab.size(); }

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_bos, bool parse_special) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 4) {
    fail_input("the text has {} bytes; the tokenizer takes up to 512 MiB", text.size());
  }
  std::vector<TokenId> ids;
  if (const auto* json = std::get_if<JsonTokenizer>(&impl_->method)) {
    if (add_bos) ids = json->prefix();
    json->encode(text, parse_special, ids);
    if (add_bos) ids.insert(ids.end(), json->suffix().begin(), json->suffix().end());
    return ids;
  }
  if (add_bos && impl_->adds_bos) ids.push_back(*impl_->vocab.bos());
  bool after_special = true;
  for (const Fragment& fragment : impl_->specials.split(text, parse_special)) {
    if (fragment.id >= 0)
      ids.push_back(fragment.id);
    else
      impl_->encode(fragment.text, after_special, ids);
    after_special = fragment.id >= 0;
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool show_special) const {
  std::string text;
  bool after_special = true;
  for (const TokenId id : ids) {
    std::string piece = impl_->piece(id, show_special);
    // Takes back the space that encode() put before the text.
    const TokenKind kind = impl_->vocab.kind(id);
    if (impl_->space_prefix && after_special && kind == TokenKind::normal && piece.starts_with(' '))
      piece.erase(0, 1);
    text += piece;
    after_special = impl_->is_hidden(id) || kind == TokenKind::user_defined;
  }
  return text;
}

std::string Tokenizer::piece(TokenId id, bool show_special) const { return impl_->piece(id, show_special); }

bool Tokenizer::adds_bos() const { return impl_->adds_bos; }
std::optional<TokenId> Tokenizer::bos() const { return impl_->vocab.bos(); }

bool Tokenizer::ends_generation(TokenId id) const {
  return id >= 0 && id < impl_->vocab.size() && impl_->vocab.ends_generation(id);
}

std::optional<TokenId> Tokenizer::find(std::string_view token_text) const {
  return impl_->vocab.find(token_text);
}

}  // namespace greta
