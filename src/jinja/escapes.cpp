#include "jinja/escapes.h"

#include <algorithm>
#include <charconv>

#include "jinja/value.h"

namespace greta::jinja {
namespace {

// A character and what it stands for after a backslash.
constexpr std::string_view kSimple = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";

/// The number of `digits` of `base` at the start of `text`, which must all be there.
uint32_t code_of(std::string_view text, size_t digits, int base) {
  uint32_t code = 0;
  const char* end = text.data() + std::min(digits, text.size());
  const auto read = std::from_chars(text.data(), end, code, base);
  if (text.size() < digits || read.ptr != end || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
    refuse("an escape in a str that is no character");
  return code;
}

size_t octal_digits(std::string_view text) {
  size_t n = 0;
  while (n < 3 && n < text.size() && text[n] >= '0' && text[n] <= '7') ++n;
  return n;
}

}  // namespace

std::string utf8_of(uint32_t code) {
  const auto byte = [](uint32_t bits) { return static_cast<char>(bits); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | code >> 6), byte(0x80 | (code & 0x3f))};
  if (code < 0x10000)
    return {byte(0xe0 | code >> 12), byte(0x80 | (code >> 6 & 0x3f)), byte(0x80 | (code & 0x3f))};
  return {byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 0x3f)), byte(0x80 | (code >> 6 & 0x3f)),
          byte(0x80 | (code & 0x3f))};
}

std::string unescaped(std::string_view raw) {
  std::string text;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      text += raw[i];
      continue;
    }
    const char c = raw[++i];
    const auto rest = raw.substr(i + 1);
    size_t simple = 0;
    while (simple < kSimple.size() && kSimple[simple] != c) simple += 2;
    const size_t hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (simple < kSimple.size()) {
      text += kSimple[simple + 1];
    } else if (hex > 0) {
      text += utf8_of(code_of(rest, hex, 16));
      i += hex;
    } else if (const size_t octal = octal_digits(raw.substr(i)); octal > 0) {
      text += utf8_of(code_of(raw.substr(i), octal, 8));
      i += octal - 1;
    } else if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
      refuse("this escape in a str is not supported");
    } else if (c != '\n') {  // a backslash at a line's end joins lines
      text.append(1, '\\').append(1, c);
    }
  }
  return text;
}

}  // namespace greta::jinja
