#pragma once
// Bytes of strangers: names, keys, paths and texts from a file may hold anything, escape sequences for a
// terminal too. What people get to see goes through here once, where it leaves the program.
//
// A byte that belongs to no UTF-8 character, and an ASCII control, come out as \x1b; any other character that
// is_hidden() as \u{202e}. All else stays, a backslash too (a path must stay one), so text that holds "\x1b"
// as four letters comes out as the byte would.

#include <string>
#include <string_view>

namespace greta {

/// Characters that are no text: controls (C0, DEL, C1), line and paragraph separators, those that turn the
/// direction of writing for what follows (U+202A to 202E, U+2066 to 2069), and noncharacters.
bool is_hidden(char32_t character);

/// One line: well-formed UTF-8 without hidden characters. Text that is so already is returned as it is.
std::string printable(std::string_view text);

/// The same, but line breaks and tabs stay: for texts, not for names.
std::string printable_lines(std::string_view text);

/// printable_lines() of a text that comes in pieces, which may end within a character.
class PrintableStream {
 public:
  /// What can be shown now.
  std::string add(std::string_view piece);
  /// What was kept back, waiting for the rest of its character.
  std::string end();

 private:
  std::string kept_;
};

/// JSON text (well-formed UTF-8) with the hidden characters that JSON lets strings hold written as \u007f:
/// the same document.
std::string printable_json(std::string json);

}  // namespace greta
