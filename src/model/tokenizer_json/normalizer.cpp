#include "model/tokenizer_json/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "base/utf8.h"
#include "io/json_fields.h"
#include "model/bpe.h"
#include "model/gguf_cursor.h"
#include "model/tokenizer_json/pattern.h"
#include "model/tokenizer_json/word_splitter.h"
#include "model/vocab.h"

namespace greta {
namespace {

using nlohmann::json;
using Change = std::function<std::string(std::string)>;

// tokenizers 0.23.3 has the forms of Unicode 9: what is newer stays as it is, where it is. (Asked of it
// character by character, against Unicode 14.)
constexpr std::array<std::array<int32_t, 2>, 44> kUnchanged{{
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
}};

bool stays(utf8proc_int32_t c) {
  return std::ranges::any_of(kUnchanged, [c](const auto& range) { return c >= range[0] && c <= range[1]; });
}

std::string map(std::string_view text, int options) {
  utf8proc_uint8_t* made = nullptr;
  if (text.empty()) return {};
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &made,
                                 static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> keep(made, std::free);
  if (size < 0) fail_machine("normalizing a text: {}", utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(made), static_cast<size_t>(size)};
}

/// text with `change(code point, its bytes, out)` for each character.
template <class Use>
std::string by_character(const std::string& text, Use change) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t code_point = 0;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                         static_cast<utf8proc_ssize_t>(text.size() - at), &code_point);
    const size_t bytes = length > 0 ? static_cast<size_t>(length) : 1;
    change(code_point, std::string_view(text).substr(at, bytes), out);
    at += bytes;
  }
  return out;
}

std::string in_form(const std::string& text, int options) {
  std::string out, between;
  by_character(text, [&](utf8proc_int32_t c, std::string_view bytes, std::string&) {
    if (!stays(c)) {
      between += bytes;
      return;
    }
    out += map(between, options);
    out += bytes;
    between.clear();
  });
  return out + map(between, options);
}

void append(utf8proc_int32_t code_point, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(code_point, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

std::string lowercase(std::string text) {
  return by_character(text, [](utf8proc_int32_t c, std::string_view, std::string& out) {
    if (c == 0x130) {
      out += "i\xcc\x87";  // the one character with a longer lower case
    } else {
      append(utf8proc_tolower(c), out);
    }
  });
}

std::string short_text(const Fields& fields, const char* name) {
  std::string text = fields.text(name);
  if (text.size() > 64) fields.fail(name, fmt::format("has {} bytes; expected up to 64", text.size()));
  return text;
}

Change replace(const json& of, const std::string& where) {
  const Pattern pattern = read_pattern(of, where);
  const std::string content = short_text(Fields(of, where), "content");
  return [pattern, content](std::string text) {
    std::string out;
    for (const Stretch& part : pattern.stretches(text))
      part.matches ? out += content : out.append(text, part.begin, part.end - part.begin);
    return out;
  };
}

Change strip(bool left, bool right) {
  return [left, right, space = Pattern(R"(\s+)", "")](std::string text) {
    const std::vector<Stretch> parts = space.stretches(text);
    if (right && !parts.empty() && parts.back().matches) text.resize(parts.back().begin);
    if (left && !parts.empty() && parts.front().matches)
      text.erase(0, std::min(parts.front().end, text.size()));
    return text;
  };
}

void add_normalizers(const json& of, const std::string& where, std::vector<Change>& steps) {
  if (of.is_null()) return;
  const Fields fields(of, where);
  const std::string type = fields.text("type");
  const std::string at = where + ": " + excerpt(type);
  if (type == "Sequence") {
    const auto parts = of.find("normalizers");
    if (parts == of.end() || !parts->is_array()) fields.fail("normalizers", "must be a list");
    for (const json& part : *parts) add_normalizers(part, where, steps);
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    const int form = (type.ends_with('C') ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                     (type.find('K') != type.npos ? UTF8PROC_COMPAT : 0);
    steps.emplace_back([form](std::string text) { return in_form(text, form); });
  } else if (type == "Lowercase") {
    steps.emplace_back(lowercase);
  } else if (type == "Strip") {
    steps.push_back(strip(fields.boolean_or("strip_left", true), fields.boolean_or("strip_right", true)));
  } else if (type == "Prepend") {
    steps.emplace_back([prefix = short_text(fields, "prepend")](std::string text) {
      return text.empty() ? text : prefix + text;
    });
  } else if (type == "Replace") {
    steps.push_back(replace(of, at));
  } else if (type == "ByteLevel") {
    steps.emplace_back([](std::string text) { return Bpe::letters_of(text); });
  } else {
    fail_input("{}: GRETA does not know the normalizer {}", where, excerpt(type));
  }
}

}  // namespace

Normalizer::Normalizer(const json& of, const std::string& where) { add_normalizers(of, where, steps_); }

std::string Normalizer::operator()(std::string text) const {
  // Real ones add a mark, or take a character apart (at most into 18 of three bytes).
  const size_t most = 64 * text.size() + kMaxTokenBytes;
  for (const auto& step : steps_) {
    text = step(std::move(text));
    if (text.size() > most) fail_input("the normalizer makes a text of more than {} bytes", most);
  }
  return text;
}

}  // namespace greta
