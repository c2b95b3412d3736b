// json.dumps().

#include <algorithm>

#include "base/utf8.h"
#include "jinja/builtin.h"

namespace greta::jinja {
namespace {

/// The code point of a character of more than one byte.
uint32_t code_point(std::string_view character) {
  uint32_t code = static_cast<unsigned char>(character[0]) & (0xffu >> (character.size() + 1));
  for (const char c : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(c) & 0x3f);
  return code;
}

void append_escaped(std::string& out, uint32_t unit) { out += fmt::format("\\u{:04x}", unit); }

void append_text(std::string& out, std::string_view text, bool ascii) {
  constexpr std::string_view kShort = "\"\"\\\\\nn\rr\tt\ff\bb";
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    size_t escape = 0;
    while (escape < kShort.size() && kShort[escape] != c) escape += 2;
    const size_t size = std::max<size_t>(1, utf8_length(text, at));
    if (escape < kShort.size()) {
      out.append(1, '\\').append(1, kShort[escape + 1]);
    } else if (size == 1 && static_cast<unsigned char>(c) < 0x20) {
      append_escaped(out, static_cast<unsigned char>(c));
    } else if (size > 1 && ascii) {
      const uint32_t code = code_point(text.substr(at, size));
      if (code >= 0x10000) append_escaped(out, 0xd800 + ((code - 0x10000) >> 10));
      append_escaped(out, code >= 0x10000 ? 0xdc00 + ((code - 0x10000) & 0x3ff) : code);
    } else {
      out += text.substr(at, size);
    }
    at += size;
  }
  out += '"';
}

class Writer {
 public:
  Writer(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value) {
    const size_t before = out.size();
    if (is<None>(value)) {
      out += "null";
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      out += *flag ? "true" : "false";
    } else if (const auto* real = std::get_if<double>(&value); real != nullptr && !(*real - *real == 0)) {
      out += *real != *real ? "NaN" : *real > 0 ? "Infinity" : "-Infinity";
    } else if (is_number(value)) {
      out += representation(budget_, value);
    } else if (is<Text>(value)) {
      append_text(out, text_of(value), style_.ascii);
    } else if (const auto* dict = std::get_if<DictPtr>(&value)) {
      return write_dict(**dict);
    } else {
      const auto* list = std::get_if<ListPtr>(&value);
      if (list == nullptr || ((*list)->kind != Sequence::list && (*list)->kind != Sequence::tuple))
        refuse("a {} as JSON is not supported", type_name(value));
      return write_items((*list)->items, '[', ']', [&](const Value& item) { write(item); });
    }
    budget_.charge(1 + out.size() - before);
  }

  std::string out;

 private:
  template <class Items, class Write>
  void write_items(const Items& items, char open, char close, Write write_one) {
    out += open;
    ++level_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += style_.comma;
      first = false;
      new_line();
      write_one(item);
    }
    --level_;
    if (!items.empty()) new_line();
    out += close;
  }

  void write_dict(const Dict& dict) {
    auto items = dict.items;
    if (style_.sorted)
      std::ranges::stable_sort(
          items, [&](const auto& a, const auto& b) { return order(budget_, a.first, b.first) < 0; });
    write_items(items, '{', '}', [&](const auto& item) {
      write(std::get<Text>(make_key(item.first)));
      out += style_.colon;
      write(item.second);
    });
  }

  Value make_key(const Value& key) {
    if (!is<Text>(key)) refuse("a {} as the key of JSON is not supported", type_name(key));
    return key;
  }

  void new_line() {
    if (!style_.indent) return;
    out += '\n';
    for (int i = 0; i < level_; ++i) out += *style_.indent;
    budget_.charge(1 + static_cast<uint64_t>(level_) * style_.indent->size());
  }

  Budget& budget_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  Writer writer(budget, style);
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace greta::jinja
