#include "model/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <queue>

#include "base/error.h"
#include "base/utf8.h"
#include "model/space_mark.h"

namespace greta {
SentencePiece::SentencePiece(const ModelFile& file, const Vocab& vocab) : vocab_(vocab) {
  if (file.find_string("tokenizer.ggml.model") == "gemma4")
    merges_ = read_merges(file, vocab);
  else
    read_scores(file);
  for (size_t byte = 0; byte < 256; ++byte) {
    const char raw = static_cast<char>(byte);
    auto id = vocab.find(fmt::format("<0x{:02X}>", byte));
    if (!id && byte < 0x80) id = vocab.find(std::string_view(&raw, 1));
    byte_ids_[byte] = id.value_or(-1);
  }
}

void SentencePiece::read_scores(const ModelFile& file) {
  const auto scores = file.find_floats("tokenizer.ggml.scores");
  if (!scores) fail_input("{}: tokenizer.ggml.scores is missing: a llama tokenizer needs it", file.path());
  if (scores->size() != static_cast<size_t>(vocab_.size())) {
    fail_input("{}: tokenizer.ggml.scores has {} elements, tokenizer.ggml.tokens {}", file.path(),
               scores->size(), vocab_.size());
  }
  scores_.reserve(scores->size());
  for (const double score : *scores) {
    if (std::isnan(score))
      fail_input("{}: tokenizer.ggml.scores[{}] is not a number", file.path(), scores_.size());
    scores_.push_back(static_cast<float>(score));
  }
}

/// A link of the chain of symbols that the text still has. size 0: merged into the one before.
struct SentencePiece::Symbol {
  size_t start, size;
  int32_t previous, next;  // -1 at the ends
};

/// A merge that was possible when it was noted.
struct SentencePiece::Candidate {
  float score;
  int32_t left, right;  // symbols
  size_t size;          // of both
  /// Best score first, then leftmost.
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

void SentencePiece::encode(std::string_view raw, std::vector<TokenId>& ids) const {
  const std::string text = with_marked_spaces(raw);
  if (merges_) return encode_by_rank(text, ids);
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::max<size_t>(utf8_length(text, at), 1);
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({at, size, index - 1, at + size < text.size() ? index + 1 : -1});
    at += size;
  }
  const auto at = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::priority_queue<Candidate> candidates;
  const auto note = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const size_t size = at(left).size + at(right).size;
    if (size > vocab_.longest()) return;
    const auto id = vocab_.find(std::string_view(text).substr(at(left).start, size));
    if (id) candidates.push({scores_[static_cast<size_t>(*id)], left, right, size});
  };
  for (int32_t i = 1; i < static_cast<int32_t>(symbols.size()); ++i) note(i - 1, i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol &left = at(best.left), &right = at(best.right);
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;  // outdated
    left.size = best.size;
    left.next = right.next;
    right.size = 0;
    if (right.next >= 0) at(right.next).previous = best.left;
    note(left.previous, best.left);
    note(best.left, left.next);
  }
  for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = at(i).next) {
    emit(std::string_view(text).substr(at(i).start, at(i).size), ids);
  }
}

/// Lines and the runs of line ends between them are words; such a run may be a token of its own.
void SentencePiece::encode_by_rank(std::string_view text, std::vector<TokenId>& ids) const {
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    const bool line_ends = text[begin] == '\n';
    end = line_ends ? text.find_first_not_of('\n', begin) : text.find('\n', begin);
    end = std::min(end, text.size());
    const auto word = text.substr(begin, end - begin);
    const auto whole = line_ends ? vocab_.find(word) : std::nullopt;
    if (whole) {
      ids.push_back(*whole);
      continue;
    }
    std::vector<TokenId>
        symbols;  // of characters, or of the bytes of one without a token: these merge with nothing
    for (size_t at = 0; at < word.size();) {
      const size_t size = std::max<size_t>(utf8_length(word, at), 1);
      emit(word.substr(at, size), symbols);
      at += size;
    }
    merges_->apply(symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }
}

void SentencePiece::emit(std::string_view text, std::vector<TokenId>& ids) const {
  if (const auto id = vocab_.find(text)) return ids.push_back(*id);
  for (const char byte : text) {
    const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id >= 0)
      ids.push_back(id);
    else if (vocab_.unknown())
      ids.push_back(*vocab_.unknown());
  }
}

std::string SentencePiece::bytes_of(TokenId id) const {
  const std::string_view text = vocab_.text(id);
  if (vocab_.kind(id) == TokenKind::byte) {
    const auto byte = std::ranges::find(byte_ids_, id);
    if (byte != byte_ids_.end()) return std::string(1, static_cast<char>(byte - byte_ids_.begin()));
  }
  if (vocab_.kind(id) != TokenKind::normal) return std::string(text);
  return with_spaces(text);
}

}  // namespace greta
