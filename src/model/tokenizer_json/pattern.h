#pragma once
// Expressions of tokenizer.json. Their engine is Oniguruma with Ruby's syntax; here PCRE2 runs them, so what
// the two read differently is spelled out.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greta {

/// Characters of a general category that Unicode got after version 14, which PCRE2 10.42 knows.
struct UnicodeRange {
  uint32_t first, last;
  std::string_view category;
};
std::span<const UnicodeRange> newer_than_unicode14();

/// The same expression for PCRE2. Throws an input Error, beginning with `where`, for what has no counterpart.
std::string pcre2_pattern(std::string_view pattern, const std::string& where);

/// A stretch of a text; they tile it.
struct Stretch {
  size_t begin, end;
  bool matches;
};

class Pattern {
 public:
  /// Input Errors, beginning with `where`: an expression that can't be read.
  Pattern(std::string_view pattern, const std::string& where);
  /// A text that stands for itself.
  static Pattern literal(std::string_view text);

  /// Matches, leftmost first, and what is between them. An input Error where the expression needs too many
  /// steps.
  std::vector<Stretch> stretches(std::string_view text) const;

 private:
  Pattern() = default;
  struct Code;
  std::shared_ptr<const Code> code_;  // or
  std::string literal_;
  std::string where_;
};

}  // namespace greta
