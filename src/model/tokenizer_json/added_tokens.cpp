#include "model/tokenizer_json/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "model/tokenizer_json/pattern.h"

namespace greta {
namespace {

const Pattern& spaces() {
  static const Pattern pattern(R"(\s+)", "");
  return pattern;
}

/// Whether the character that begins, or ends, there is one of a word.
bool touches_word(std::string_view text, size_t begin, size_t end) {
  static const Pattern word(R"(\w)", "");
  if (begin == end) return false;
  const std::vector<Stretch> parts = word.stretches(text.substr(begin, end - begin));
  return !parts.empty() && parts.front().matches;
}

size_t character_before(std::string_view text, size_t at) {
  if (at > 0) --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

}  // namespace

void AddedTokens::add(const AddedToken& token, const std::string& spelling) {
  if (spelling.empty() || !tokens_.emplace(spelling, token).second) return;
  std::vector<size_t>& lengths = lengths_by_byte_[static_cast<unsigned char>(spelling[0])];
  const auto at = std::ranges::lower_bound(lengths, spelling.size(), std::greater<>());
  if (at == lengths.end() || *at != spelling.size()) lengths.insert(at, spelling.size());
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at, size_t& length) const {
  for (const size_t size : lengths_by_byte_[static_cast<unsigned char>(text[at])]) {
    if (size > text.size() - at) continue;
    const auto found = tokens_.find(std::string(text.substr(at, size)));
    if (found == tokens_.end()) continue;
    length = size;
    return &found->second;
  }
  return nullptr;
}

std::vector<TextPart> AddedTokens::split(std::string_view text, bool special) const {
  std::vector<TextPart> parts;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const AddedToken* token = longest_at(text, at, length);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + length;
    at = end;
    if (token->special && !special) continue;
    if (token->single_word) {
      const size_t before = character_before(text, begin);
      if (touches_word(text, before, begin)) continue;
      if (end < text.size() && touches_word(text, end, end + std::max<size_t>(utf8_length(text, end), 1)))
        continue;
    }
    if (token->strips_left) {
      const std::vector<Stretch> left = spaces().stretches(text.substr(0, begin));
      if (!left.empty() && left.back().matches) begin = std::max(left.back().begin, done);
    }
    if (token->strips_right) {
      const std::vector<Stretch> right = spaces().stretches(text.substr(end));
      if (!right.empty() && right.front().matches) end += right.front().end;
    }
    if (done < begin) parts.push_back({-1, text.substr(done, begin - done)});
    parts.push_back({token->id, text.substr(begin, end - begin)});
    done = end;
    at = std::max(at, done);
  }
  if (done < text.size()) parts.push_back({-1, text.substr(done)});
  return parts;
}

}  // namespace greta
