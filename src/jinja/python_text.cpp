#include "jinja/python_text.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "jinja/value.h"

namespace greta::jinja {
namespace {

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// The character that ends at text's end.
std::string_view last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (text[at] & 0xc0) == 0x80) --at;
  return text.substr(at);
}

/// Bytes of the line break at the start of `text`, or 0.
size_t line_break(std::string_view text) {
  constexpr std::array<std::string_view, 11> kBreaks{
      "\r\n", "\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
  for (const auto one : kBreaks) {
    if (text.starts_with(one)) return one.size();
  }
  return 0;
}

std::vector<std::string_view> split_at_spaces(std::string_view text, int64_t most) {
  std::vector<std::string_view> parts;
  for (text = stripped(text, std::nullopt, true, false); !text.empty();
       text = stripped(text, std::nullopt, true, false)) {
    if (most >= 0 && std::ssize(parts) == most) {
      parts.push_back(stripped(text, std::nullopt, false, true));
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const size_t size = utf8_length(text, end);
      if (is_space(text.substr(end, size))) break;
      end += size;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

template <class Change>
std::string changed(std::string_view text, Change change) {
  if (!is_ascii(text)) refuse("upper and lower case beyond ASCII are not supported");
  std::string result(text);
  std::ranges::transform(result, result.begin(), change);
  return result;
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (size_t at = 0; at < text.size(); at += result.back().size())
    result.push_back(text.substr(at, std::max<size_t>(1, utf8_length(text, at))));
  return result;
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

bool is_space(std::string_view character) {
  if (character.size() == 1) {
    const char c = character[0];
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
  }
  if (character == "\xc2\x85" || character == "\xc2\xa0" || character == "\xe1\x9a\x80") return true;
  if (character.starts_with("\xe2\x80")) {  // U+2000 to 200A, 2028, 2029, 202F
    const auto last = static_cast<unsigned char>(character[2]);
    return last <= 0x8a || last == 0xa8 || last == 0xa9 || last == 0xaf;
  }
  return character == "\xe2\x81\x9f" || character == "\xe3\x80\x80";
}

std::string_view stripped(std::string_view text, std::optional<std::string_view> chars, bool left,
                          bool right) {
  const auto goes = [&](std::string_view one) {
    return chars ? chars->find(one) != chars->npos : is_space(one);
  };
  while (left && !text.empty()) {
    const size_t size = std::max<size_t>(1, utf8_length(text, 0));
    if (!goes(text.substr(0, size))) break;
    text.remove_prefix(size);
  }
  while (right && !text.empty()) {
    const auto last = last_character(text);
    if (!goes(last)) break;
    text.remove_suffix(last.size());
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t most) {
  if (!separator) return split_at_spaces(text, most);
  if (separator->empty()) refuse("split() at an empty str");
  std::vector<std::string_view> parts;
  while (most < 0 || std::ssize(parts) < most) {
    const size_t end = text.find(*separator);
    if (end == text.npos) break;
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + separator->size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t size = line_break(text.substr(at));
    if (size > 0) lines.push_back(text.substr(start, at - start));
    at += size > 0 ? size : 1;
    if (size > 0) start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string replaced(std::string_view text, std::string_view old, std::string_view with, int64_t most) {
  if (old.empty()) refuse("replacing an empty str is not supported");
  std::string result;
  for (size_t at = 0;;) {
    const size_t next = most == 0 ? text.npos : text.find(old, at);
    result += text.substr(at, next == text.npos ? next : next - at);
    if (next == text.npos) return result;
    result += with;
    at = next + old.size();
    if (most > 0) --most;
  }
}

std::string lower(std::string_view text) {
  return changed(text, [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
}

std::string upper(std::string_view text) {
  return changed(text, [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
}

std::string quoted(std::string_view text) {
  for (const auto one : characters(text)) {  // U+00A1 to U+024F print themselves but for one
    const bool latin = one.size() == 2 && one >= "\xc2\xa1" && one <= "\xc9\x8f" && one != "\xc2\xad";
    if (one.size() > 1 && !latin) refuse("repr() of text beyond Latin letters is not supported");
  }
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    switch (c) {
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      default:
        if (c == quote || c == '\\')
          result.append(1, '\\').append(1, c);
        else if (static_cast<unsigned char>(c) < ' ' || c == '\x7f')
          result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
          result += c;
    }
  }
  return result + quote;
}

}  // namespace greta::jinja
