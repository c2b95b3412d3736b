#pragma once
// The pieces of a Jinja template, not run: text, statements and expressions, and their tokens.

#include <string>
#include <string_view>
#include <vector>

namespace greta {

struct JinjaToken {
  enum class Kind { name, string, number, symbol } kind;
  std::string text;  // of a string: its escapes resolved
  bool is(std::string_view other) const { return kind != Kind::string && text == other; }
};

struct JinjaPiece {
  enum class Kind { text, statement, expression } kind;
  std::string text;                // of text: what is printed of it
  std::vector<JinjaToken> tokens;  // of the others
};

/// The pieces in order; white space goes as transformers sets it (trim_blocks and lstrip_blocks) and as "-"
/// asks. Comments are left out; what has no end reaches to the end.
std::vector<JinjaPiece> jinja_pieces(std::string_view template_text);

}  // namespace greta
