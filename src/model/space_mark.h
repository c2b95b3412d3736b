#pragma once
// U+2581, which stands for a space in the texts of tokens.

#include <string>
#include <string_view>

namespace greta {

inline constexpr std::string_view kSpaceMark = "\u2581";

inline std::string with_marked_spaces(std::string_view text) {
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ')
      marked += kSpaceMark;
    else
      marked += c;
  }
  return marked;
}

/// The other way.
inline std::string with_spaces(std::string_view marked) {
  std::string text;
  for (size_t at = 0; at < marked.size();) {
    const bool mark = marked.substr(at).starts_with(kSpaceMark);
    text += mark ? ' ' : marked[at];
    at += mark ? kSpaceMark.size() : 1;
  }
  return text;
}

}  // namespace greta
