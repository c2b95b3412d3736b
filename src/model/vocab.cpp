#include "model/vocab.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

// Tokens that end a turn or a document, by the text that the model families give them.
constexpr std::array<std::string_view, 20> kEndTexts{
    "<|eot_id|>",    "<|eom_id|>",         "<|im_end|>", "<|end|>", "<|return|>",
    "<|call|>",      "<|calls|>",          "<|flush|>",  "<turn|>", "<|endoftext|>",
    "<end_of_turn>", "<|end_of_text|>",    "<eos>",      "</s>",    "<EOT>",
    "_<EOT>",        "<end_of_utterance>", "[EOT]",      "[EOS]",   "<｜end▁of▁sentence｜>"};

// Tokens of fill-in-the-middle prompts.
constexpr std::array<std::string_view, 33> kFillTexts{
    "<|fim_prefix|>",  "<|fim_suffix|>",  "<|fim_middle|>", "<|fim_pad|>", "<|fim_repo|>",
    "<fim_prefix>",    "<fim_suffix>",    "<fim_middle>",   "<fim_pad>",   "<fim-prefix>",
    "<fim-suffix>",    "<fim-middle>",    "<fim-pad>",      "<fim-repo>",  "<|code_prefix|>",
    "<|code_suffix|>", "<|code_middle|>", "<|prefix|>",     "<|suffix|>",  "<|middle|>",
    "<｜fim▁begin｜>", "<｜fim▁hole｜>",  "<｜fim▁end｜>",  "<PRE>",       "<SUF>",
    "<MID>",           "▁<PRE>",          "▁<SUF>",         "▁<MID>",      "<|repo_name|>",
    "<reponame>",      "<|file_sep|>",    "<REPO>"};

}  // namespace

Vocab Vocab::from(const ModelFile& file) {
  Vocab vocab;
  vocab.read_texts(file);
  vocab.read_kinds(file);
  vocab.read_special_ids(file);
  return vocab;
}

std::optional<TokenId> Vocab::find(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

void Vocab::read_texts(const ModelFile& file) {
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (!tokens) refuse_part(file);
  if (!tokens) fail_input("{}: tokenizer.ggml.tokens is missing: the file has no vocabulary", file.path());
  const size_t count = tokens->strings.size();
  if (count == 0 || count > static_cast<size_t>(std::numeric_limits<TokenId>::max())) {
    fail_input("{}: tokenizer.ggml.tokens has {} elements; expected 1 to 2^31 - 1", file.path(), count);
  }
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view text = tokens->strings[i];
    if (text.size() > kMaxTokenBytes) {
      fail_input("{}: tokenizer.ggml.tokens[{}] has {} bytes; the longest token that GRETA takes has {}",
                 file.path(), i, text.size(), kMaxTokenBytes);
    }
    if (utf8_valid_prefix(text) != text.size()) {
      fail_input("{}: tokenizer.ggml.tokens[{}] is not UTF-8", file.path(), i);
    }
    total += text.size();
    longest_ = std::max(longest_, text.size());
  }
  texts_->reserve(total);  // no reallocation from here on: ids_ keeps views
  starts_.reserve(count + 1);
  ids_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t start = texts_->size();
    texts_->append(tokens->strings[i]);
    starts_.push_back(start);
    if (tokens->strings[i].empty()) continue;  // a hole in the vocabulary: an id without a text
    // Converters give what is left of a vocabulary one text: the first id is the text's, as in llama.cpp.
    ids_.emplace(std::string_view(*texts_).substr(start, texts_->size() - start), static_cast<TokenId>(i));
  }
  starts_.push_back(texts_->size());
}

void Vocab::read_kinds(const ModelFile& file) {
  const size_t count = starts_.size() - 1;
  kinds_.assign(count, TokenKind::normal);
  ends_.assign(count, false);
  if (const auto types = file.find_ints("tokenizer.ggml.token_type")) {
    if (types->size() != count) {
      fail_input("{}: tokenizer.ggml.token_type has {} elements, tokenizer.ggml.tokens {}", file.path(),
                 types->size(), count);
    }
    for (size_t i = 0; i < count; ++i) {
      const int64_t type = (*types)[i];
      if (type < 0 || type > 6) {
        fail_input("{}: tokenizer.ggml.token_type[{}] is {}; known: 0 to 6", file.path(), i, type);
      }
      kinds_[i] = type == 0 ? TokenKind::unused : static_cast<TokenKind>(type);
    }
  }
  mark_protocol();
}

// Converters forget to mark some special tokens, so llama.cpp knows them by their texts: written in a prompt
// they are the token. Whether such a one ends the generation is another matter:
// Gemma's and Qwen's "</s>" is an HTML tag.
void Vocab::mark_protocol() {
  protocol_.resize(kinds_.size());
  for (size_t i = 0; i < kinds_.size(); ++i) {
    protocol_[i] = kinds_[i] == TokenKind::control || kinds_[i] == TokenKind::unknown;
  }
  const auto mark = [&](std::string_view text, bool ends) {
    const auto id = find(text);
    if (!id) return;
    const auto i = static_cast<size_t>(*id);
    if (kinds_[i] != TokenKind::user_defined) protocol_[i] = true;
    if (kinds_[i] == TokenKind::normal && text.starts_with("<|")) kinds_[i] = TokenKind::control;
    if (ends && kinds_[i] == TokenKind::control) ends_[i] = true;
  };
  for (const auto text : kEndTexts) mark(text, true);
  for (const auto text : kFillTexts) mark(text, false);
}

void Vocab::read_special_ids(const ModelFile& file) {
  const auto max = static_cast<uint64_t>(size() - 1);
  const auto read = [&](std::string_view key) -> std::optional<TokenId> {
    const auto id = file.find_uint(key, max);
    if (!id) return std::nullopt;
    return static_cast<TokenId>(*id);
  };
  bos_ = read("tokenizer.ggml.bos_token_id");
  unknown_ = read("tokenizer.ggml.unknown_token_id");
  for (const std::string_view key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (const auto id = read(key)) ends_[static_cast<size_t>(*id)] = true;
  }
}

}  // namespace greta
