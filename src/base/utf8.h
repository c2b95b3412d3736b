#pragma once
// UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing beyond U+10FFFF.

#include <cstddef>
#include <string_view>

namespace greta {

/// Bytes of the well-formed character that starts at text[at] (1 to 4),
/// or 0 when none does. `at` < text.size().
inline size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const size_t left = text.size() - at;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || left < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
  if (lead == 0xed && byte(1) >= 0xa0) return 0;  // surrogate
  if (lead == 0xf0 && byte(1) < 0x90) return 0;   // overlong
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;  // beyond U+10FFFF
  return length;
}

/// The first position where `text` is not well-formed, or text.size().
inline size_t utf8_valid_prefix(std::string_view text, size_t from = 0) {
  while (from < text.size()) {
    const size_t length = utf8_length(text, from);
    if (length == 0) break;
    from += length;
  }
  return from;
}

/// The longest start of `text` of at most `size` bytes that does not end within a character.
inline std::string_view utf8_head(std::string_view text, size_t size) {
  if (text.size() <= size) return text;
  for (size_t at = size; at > 0 && size - at < 4; --at) {  // the last character that starts in the head
    const size_t length = utf8_length(text, at - 1);
    if (length > 0) return text.substr(0, at - 1 + length > size ? at - 1 : size);
  }
  return text.substr(0, size);  // no UTF-8 there
}

}  // namespace greta
