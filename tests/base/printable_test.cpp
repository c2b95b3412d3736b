#include "base/printable.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "base/utf8.h"

namespace greta {
namespace {

/// By the bytes, not by is_hidden(): C0, DEL, C1, separators, changes of direction.
bool is_clean(const std::string& text, std::string_view kept = "") {
  if (utf8_valid_prefix(text) != text.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string_view rest = std::string_view(text).substr(i);
    if ((byte < 0x20 && kept.find(text[i]) == std::string_view::npos) || byte == 0x7f) return false;
    if (byte == 0xc2 && rest[1] < '\xa0') return false;
    if (rest.starts_with("\xe2\x80") && rest[2] >= '\xa8' && rest[2] <= '\xae') return false;
    if (rest.starts_with("\xe2\x81") && rest[2] >= '\xa6' && rest[2] <= '\xa9') return false;
  }
  return true;
}

/// Texts in which what matters is frequent.
std::string any_text() {
  static const std::vector<std::string> kParts = {
      "a",          "\\",       "\x1b",         "\n",           "\t",       std::string(1, '\0'),
      "\x7f",       "\x80",     "\xc2",         "\x9b",         "\xc2\x9b", "ñ",
      "\xe2",       "\x80",     "\xa8",         "\u2028",       "\u202e",   "\u2066",
      "\U0001f600", "\xf0\x9f", "\xed",         "\xff",         "\ufffe",   "\ufffd",
      "é",          "日",       "\xf4\x90\x80", "\xed\xa0\x80", "\u200d",   "\u061c"};
  const auto parts = *rc::gen::container<std::vector<std::string>>(
      rc::gen::oneOf(rc::gen::elementOf(kParts), rc::gen::string<std::string>()));
  std::string text;
  for (const std::string& part : parts) text += part;
  return text;
}

TEST(Printable, TextIsReturnedAsItIs) {
  for (const std::string text : {"", "blk.0.attn_q.weight", R"(C:\models\x.gguf)", "año 日本 \U0001f600",
                                 "\\x1b", "\ufffd", "a\u200db \u00a0", "عربي \u200f"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_EQ(printable_lines(text), text);
  }
}

TEST(Printable, WhatIsNoTextIsSpelled) {
  EXPECT_EQ(printable("\x1b]0;x\x07"), "\\x1b]0;x\\x07");
  EXPECT_EQ(printable(std::string_view("a\0b\n\x7f", 5)), "a\\x00b\\x0a\\x7f");
  EXPECT_EQ(printable("\xff\x9b"), "\\xff\\x9b");  // bytes
  EXPECT_EQ(printable("\u009b"), "\\u{9b}");       // the character, which starts a sequence too
  EXPECT_EQ(printable("\u202egpj.exe\u2066\u2028"), "\\u{202e}gpj.exe\\u{2066}\\u{2028}");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xe6\x97"), "\\xe6\\x97");           // cut short
  EXPECT_EQ(printable("\ufffe\U0010ffff"), "\\u{fffe}\\u{10ffff}");
  EXPECT_EQ(printable_lines("a\tb\r\nc\x1b"), "a\tb\\x0d\nc\\x1b");
}

TEST(Printable, ACharacterInPiecesIsWhole) {
  PrintableStream stream;
  EXPECT_EQ(stream.add("a\xe6"), "a");
  EXPECT_EQ(stream.add("\x97"), "");
  EXPECT_EQ(stream.add("\xa5\x1b"), "日\\x1b");
  EXPECT_EQ(stream.add("\xf0\x9f"), "");
  EXPECT_EQ(stream.end(), "\\xf0\\x9f");
  EXPECT_EQ(stream.end(), "");
}

TEST(Printable, JsonStaysTheSameDocument) {
  EXPECT_EQ(printable_json("{\n  \"a\": 1\n}"), "{\n  \"a\": 1\n}");
  EXPECT_EQ(printable_json("[\"\x7f\u009bé\u202e\U0001ffff\"]"),
            "[\"\\u007f\\u009bé\\u202e\\ud83f\\udfff\"]");
}

RC_GTEST_PROP(Printable, IsCleanAndStaysSo, ()) {
  const std::string text = any_text(), shown = printable(text), lines = printable_lines(text);
  RC_ASSERT(is_clean(shown));
  RC_ASSERT(is_clean(lines, "\n\t"));
  RC_ASSERT(printable(shown) == shown);
  RC_ASSERT(printable(lines) == shown);
  RC_ASSERT((shown == text) == is_clean(text) || text.find("\uffff") != std::string::npos ||
            text.find("\ufffe") != std::string::npos);
}

/// Texts without backslashes come out as different as they went in.
RC_GTEST_PROP(Printable, CanBeReadBack, ()) {
  std::string text = any_text();
  std::erase(text, '\\');
  const std::string shown = printable(text);
  std::string back;
  for (size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] != '\\') {
      back += shown[i];
    } else if (shown[i + 1] == 'x') {
      back += static_cast<char>(std::stoi(shown.substr(i + 2, 2), nullptr, 16));
      i += 3;
    } else {
      const size_t end = shown.find('}', i);
      const auto c = static_cast<uint32_t>(std::stoul(shown.substr(i + 3, end - i - 3), nullptr, 16));
      const auto part = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
      if (c < 0x800) {
        back += {static_cast<char>(0xc0 | c >> 6), part(0)};
      } else if (c < 0x10000) {
        back += {static_cast<char>(0xe0 | c >> 12), part(6), part(0)};
      } else {
        back += {static_cast<char>(0xf0 | c >> 18), part(12), part(6), part(0)};
      }
      i = end;
    }
  }
  RC_ASSERT(back == text);
}

RC_GTEST_PROP(Printable, PiecesMakeTheWhole, ()) {
  const std::string text = any_text();
  PrintableStream stream;
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    const size_t size = *rc::gen::inRange<size_t>(1, 5);
    shown += stream.add(std::string_view(text).substr(at, size));
    RC_ASSERT(is_clean(shown, "\n\t"));
    at += size;
  }
  shown += stream.end();
  RC_ASSERT(shown == printable_lines(text));
}

RC_GTEST_PROP(Utf8, TheHeadEndsWithACharacter, ()) {
  const std::string text = any_text();
  const size_t size = *rc::gen::inRange<size_t>(0, text.size() + 4);
  const std::string_view head = utf8_head(text, size);
  RC_ASSERT(text.starts_with(head));
  RC_ASSERT(head.size() <= size);
  RC_ASSERT(head.size() + 3 >= std::min(size, text.size()));
  RC_ASSERT(utf8_valid_prefix(text) != text.size() || utf8_valid_prefix(head) == head.size());
}

}  // namespace
}  // namespace greta
