#include "model/jinja_text.h"

#include <algorithm>

namespace greta {
namespace {

constexpr std::string_view kJinjaSpace = " \t\n\v\f\r";

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

char escaped(char c) {
  switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    default: return c;
  }
}

JinjaToken string_token(std::string_view text, size_t& at) {
  const char quote = text[at++];
  JinjaToken token{JinjaToken::Kind::string, {}};
  while (at < text.size() && text[at] != quote) {
    const bool escape = text[at] == '\\' && at + 1 < text.size();
    token.text += escape ? escaped(text[++at]) : text[at];
    ++at;
  }
  ++at;
  return token;
}

JinjaToken symbol_token(std::string_view text, size_t& at) {
  constexpr std::string_view kLong[] = {"==", "!=", "<=", ">=", "//", "**"};
  const bool two = std::ranges::find(kLong, text.substr(at, 2)) != std::end(kLong);
  JinjaToken token{JinjaToken::Kind::symbol, std::string(text.substr(at, two ? 2 : 1))};
  at += token.text.size();
  return token;
}

std::vector<JinjaToken> tokens_of(std::string_view text) {
  std::vector<JinjaToken> tokens;
  for (size_t at = 0; at < text.size();) {
    if (kJinjaSpace.find(text[at]) != kJinjaSpace.npos) {
      ++at;
    } else if (text[at] == '\'' || text[at] == '"') {
      tokens.push_back(string_token(text, at));
    } else if (is_word(text[at])) {
      const size_t begin = at;
      while (at < text.size() && is_word(text[at])) ++at;
      const bool number = text[begin] >= '0' && text[begin] <= '9';
      tokens.push_back({number ? JinjaToken::Kind::number : JinjaToken::Kind::name,
                        std::string(text.substr(begin, at - begin))});
    } else {
      tokens.push_back(symbol_token(text, at));
    }
  }
  return tokens;
}

/// Where the tag that begins before `at` has its `close`, which a string in it may hold as well.
size_t end_of_tag(std::string_view text, size_t at, std::string_view close, bool has_strings) {
  while (at < text.size() && !text.substr(at).starts_with(close)) {
    if (has_strings && (text[at] == '\'' || text[at] == '"'))
      string_token(text, at);
    else
      ++at;
  }
  return std::min(at, text.size());
}

void trim_end(std::string& text, bool all) {
  if (all) {
    text.erase(text.find_last_not_of(kJinjaSpace) + 1);
    return;
  }
  const size_t line = text.find_last_not_of(" \t");  // lstrip_blocks: only blanks from the line's begin on
  if (line == text.npos || text[line] == '\n') text.erase(line + 1);
}

void trim_begin(std::string& text, bool all) {
  if (all)
    text.erase(0, text.find_first_not_of(kJinjaSpace));
  else if (text.starts_with('\n'))
    text.erase(0, 1);  // trim_blocks
}

size_t next_tag(std::string_view text, size_t at) {
  return std::min({text.find("{{", at), text.find("{%", at), text.find("{#", at), text.size()});
}

}  // namespace

std::vector<JinjaPiece> jinja_pieces(std::string_view text) {
  std::vector<JinjaPiece> pieces;
  if (text.ends_with('\n')) text.remove_suffix(1);  // keep_trailing_newline is off
  bool after_block = false, after_dash = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = next_tag(text, at);
    std::string plain(text.substr(at, begin - at));
    if (after_block || after_dash) trim_begin(plain, after_dash);
    const std::string_view tag = text.substr(begin);
    const char kind = tag.size() > 1 ? tag[1] : '\0';
    const bool is_block = kind == '%' || kind == '#';
    const bool dash = tag.size() > 2 && tag[2] == '-', plus = tag.size() > 2 && tag[2] == '+';
    if (dash || (is_block && !plus)) trim_end(plain, dash);
    if (!plain.empty()) pieces.push_back({JinjaPiece::Kind::text, plain, {}});
    if (tag.empty()) break;
    const std::string_view close = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const size_t end = end_of_tag(text, begin + 2, close, kind != '#');
    std::string_view inside = text.substr(begin + 2, end - begin - 2);
    if (dash || plus) inside.remove_prefix(1);
    after_dash = inside.ends_with('-');
    after_block = is_block && !inside.ends_with('+');
    if (after_dash || inside.ends_with('+')) inside.remove_suffix(1);
    if (kind != '#')
      pieces.push_back(
          {kind == '{' ? JinjaPiece::Kind::expression : JinjaPiece::Kind::statement, {}, tokens_of(inside)});
    at = std::min(end + 2, text.size());
  }
  return pieces;
}

}  // namespace greta
