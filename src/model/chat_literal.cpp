#include "model/chat_literal.h"

#include <algorithm>

namespace greta {
namespace {

struct Literal {
  std::string text;  // escapes resolved
  size_t end;        // in the template: where the search goes on
};

char unescaped(char c) {
  switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    default: return c;  // \\, \', \"
  }
}

/// The rest of the quoted literal that `at` is in.
Literal quoted(std::string_view text, size_t at, char quote) {
  Literal literal{{}, at};
  while (literal.end < text.size() && text[literal.end] != quote) {
    char c = text[literal.end++];
    if (c == '\\' && literal.end < text.size()) c = unescaped(text[literal.end++]);
    literal.text += c;
  }
  return literal;
}

/// Template text outside of expressions and statements.
Literal plain(std::string_view text, size_t at) {
  const size_t end = std::min({text.find("{{", at), text.find("{%", at), text.size()});
  return {std::string(text.substr(at, end - at)), end};
}

}  // namespace

std::optional<std::string> default_system_message(std::string_view text, std::string_view open,
                                                  std::string_view close) {
  // `open` ends in a newline, which a quoted literal may write as an escape: search for what comes before it.
  const std::string_view mark = open.substr(0, open.find('\n'));
  for (size_t at = text.find(mark); at != text.npos;) {
    const char before = at > 0 ? text[at - 1] : '\0';
    const bool is_quoted = before == '\'' || before == '"';
    const Literal literal = is_quoted ? quoted(text, at, before) : plain(text, at);
    if (literal.text.starts_with(open)) {
      const size_t end = literal.text.find(close, open.size());
      if (end != std::string::npos) return literal.text.substr(open.size(), end - open.size());
    }
    at = text.find(mark, std::max(literal.end, at + mark.size()));
  }
  return std::nullopt;
}

std::optional<std::string> assigned_literal(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + name.size())) {
    size_t i = at + name.size();
    while (i < text.size() && (text[i] == ' ' || text[i] == '=')) ++i;
    if (i == at + name.size() || i >= text.size() || (text[i] != '"' && text[i] != '\'')) continue;
    return quoted(text, i + 1, text[i]).text;
  }
  return std::nullopt;
}

}  // namespace greta
