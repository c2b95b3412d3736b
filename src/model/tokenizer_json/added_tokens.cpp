#include "model/tokenizer_json/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "model/tokenizer_json/pattern.h"

namespace greta {
namespace {

uint64_t edge_of(int32_t node, char byte) {
  return static_cast<uint64_t>(node) * 256 + static_cast<unsigned char>(byte);
}

/// Whether the pattern matches the one character that begins there, or the one that ends there.
bool is_before(const Pattern& pattern, std::string_view text, size_t at, size_t& begin) {
  if (at == 0) return false;
  begin = at - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return pattern.stretches(text.substr(begin, at - begin)).front().matches;
}
bool is_after(const Pattern& pattern, std::string_view text, size_t at, size_t& end) {
  if (at >= text.size()) return false;
  end = at + std::max<size_t>(utf8_length(text, at), 1);
  return pattern.stretches(text.substr(at, end - at)).front().matches;
}

}  // namespace

void AddedTokens::add(const AddedToken& token, const std::string& spelling) {
  if (spelling.empty()) return;
  int32_t node = 0;
  for (const char byte : spelling) {
    const auto [child, fresh] = children_.emplace(edge_of(node, byte), static_cast<int32_t>(ends_.size()));
    if (fresh) ends_.push_back(-1);
    node = child->second;
  }
  int32_t& end = ends_[static_cast<size_t>(node)];
  if (end >= 0) return;  // the first of two
  end = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  starts_[static_cast<unsigned char>(spelling[0])] = true;
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at, size_t& length) const {
  if (!starts_[static_cast<unsigned char>(text[at])]) return nullptr;
  const AddedToken* longest = nullptr;
  int32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto child = children_.find(edge_of(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    const int32_t end = ends_[static_cast<size_t>(node)];
    if (end < 0) continue;
    longest = &tokens_[static_cast<size_t>(end)];
    length = i + 1 - at;
  }
  return longest;
}

std::vector<TextPart> AddedTokens::split(std::string_view text, bool special) const {
  // Here a character of a word is what Rust's regex says: letters in circles, joiners, no superscripts.
  static const Pattern space(R"(\s)", ""),
      word(R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
           R"(\x{1f170}-\x{1f189}\x{200c}\x{200d}])",
           "");
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
    size_t edge = 0;
    if (token->single_word && (is_before(word, text, begin, edge) || is_after(word, text, end, edge)))
      continue;
    while (token->strips_left && begin > done && is_before(space, text, begin, edge))
      begin = std::max(edge, done);
    while (token->strips_right && is_after(space, text, end, edge)) end = edge;
    if (done < begin) parts.push_back({-1, text.substr(done, begin - done)});
    parts.push_back({token->id, text.substr(begin, end - begin)});
    done = end;  // a token that begins within white space which another swallowed is found all the same
  }
  if (done < text.size()) parts.push_back({-1, text.substr(done)});
  return parts;
}

}  // namespace greta
