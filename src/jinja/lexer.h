#pragma once
// The tokens of a template.

#include <string>
#include <string_view>
#include <vector>

namespace greta::jinja {

struct Token {
  enum class Kind {
    data,
    print_begin,
    print_end,
    block_begin,
    block_end,
    name,
    text,
    integer,
    real,
    symbol,
    end
  };
  Kind kind;
  std::string text;  // of a str its characters, escapes resolved; of a number its digits
  int line;

  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
  bool is_symbol(std::string_view symbol) const { return kind == Kind::symbol && text == symbol; }
};

/// What is no template, or has what is not supported: why, and the line.
struct SyntaxError {
  int line;
  std::string why;
};

/// With white space as transformers sets it (trim_blocks, lstrip_blocks, no keep_trailing_newline) and as "-"
/// and "+" ask; the last token is `end`. Source: jinja2 3.1, lexer.py. Throws a SyntaxError.
std::vector<Token> tokens_of(std::string_view template_text);

}  // namespace greta::jinja
