#include "base/printable.h"

#include <fmt/format.h>

#include <utility>

#include "base/utf8.h"

namespace greta {
namespace {

/// The character of text[at, at + length), which is well-formed.
char32_t decode(std::string_view text, size_t at, size_t length) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (length == 1) return lead;
  char32_t character = lead & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    character = character << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fU);
  }
  return character;
}

std::string escaped(std::string_view text, std::string_view kept) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);
    const char32_t character = length == 0 ? 0 : decode(text, at, length);
    if (length <= 1 && is_hidden(character) && kept.find(text[at]) == std::string_view::npos) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
    } else if (length > 1 && is_hidden(character)) {
      result += fmt::format("\\u{{{:x}}}", static_cast<uint32_t>(character));
    } else {
      result += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return result;
}

/// Bytes at the end that may be the start of a character: a lead byte and fewer followers than it announces.
size_t open_end(std::string_view text) {
  for (size_t size = 1; size <= 3 && size <= text.size(); ++size) {
    const auto byte = static_cast<unsigned char>(text[text.size() - size]);
    if ((byte & 0xc0) == 0x80) continue;
    const size_t announced = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return size < announced ? size : 0;
  }
  return 0;
}

}  // namespace

bool is_hidden(char32_t character) {
  const auto within = [character](char32_t first, char32_t last) {
    return character >= first && character <= last;
  };
  return character < 0x20 || within(0x7f, 0x9f) || within(0x2028, 0x202e) || within(0x2066, 0x2069) ||
         within(0xfdd0, 0xfdef) || (character & 0xfffe) == 0xfffe;
}

std::string printable(std::string_view text) { return escaped(text, ""); }

std::string printable_lines(std::string_view text) { return escaped(text, "\n\t"); }

std::string PrintableStream::add(std::string_view piece) {
  std::string text = std::exchange(kept_, "");
  text += piece;
  kept_ = text.substr(text.size() - open_end(text));
  text.resize(text.size() - kept_.size());
  return printable_lines(text);
}

std::string PrintableStream::end() { return printable_lines(std::exchange(kept_, "")); }

std::string printable_json(std::string json) {
  std::string result;
  size_t copied = 0;
  for (size_t at = 0; at < json.size();) {
    const size_t length = utf8_length(json, at);
    const char32_t character = length == 0 ? 0 : decode(json, at, length);
    // What is below a blank stands between values (indentation): inside strings JSON has it escaped already.
    if (character > 0x20 && is_hidden(character)) {
      result.append(json, copied, at - copied);
      if (character > 0xffff) {  // as UTF-16
        result += fmt::format("\\u{:04x}", 0xd7c0 + static_cast<uint32_t>(character >> 10));
        result += fmt::format("\\u{:04x}", 0xdc00 + static_cast<uint32_t>(character & 0x3ff));
      } else {
        result += fmt::format("\\u{:04x}", static_cast<uint32_t>(character));
      }
      copied = at + length;
    }
    at += length == 0 ? 1 : length;
  }
  if (copied == 0) return json;
  return result.append(json, copied);
}

}  // namespace greta
