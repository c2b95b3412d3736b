#include "jinja/lexer.h"

#include <algorithm>
#include <array>

#include "jinja/escapes.h"
#include "jinja/python_text.h"
#include "jinja/value.h"

namespace greta::jinja {
namespace {

using Kind = Token::Kind;

// A longer one stands before its start.
constexpr std::array<std::string_view, 26> kSymbols{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::string with_plain_newlines(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      result += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      result += '\n';
  }
  if (result.ends_with('\n')) result.pop_back();  // the last one is dropped
  return result;
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_data();
    add(Kind::end, "");
    return std::move(tokens_);
  }

  [[noreturn]] void fail(size_t at, std::string why) const {
    const auto newlines =
        std::count(text_.begin(), text_.begin() + to_diff(std::min(at, text_.size())), '\n');
    throw SyntaxError{1 + static_cast<int>(newlines), std::move(why)};
  }

 private:
  static std::ptrdiff_t to_diff(size_t at) { return static_cast<std::ptrdiff_t>(at); }
  std::string_view rest() const { return text_.substr(at_); }
  bool skip(std::string_view what) {
    const bool found = rest().starts_with(what);
    if (found) at_ += what.size();
    return found;
  }
  void skip_spaces() { at_ = text_.size() - stripped(rest(), std::nullopt, true, false).size(); }
  void add(Kind kind, std::string text) {
    // Lines are counted on from the last token: a template is read once.
    counted_line_ += static_cast<int>(std::count(text_.begin() + to_diff(counted_),
                                                 text_.begin() + to_diff(std::max(counted_, at_)), '\n'));
    counted_ = std::max(counted_, at_);
    tokens_.push_back({kind, std::move(text), counted_line_});
  }

  /// Text up to the next tag, and the tag.
  void read_data() {
    const size_t begin = at_;
    size_t tag = begin;
    while ((tag = text_.find('{', tag)) != text_.npos && !is_tag(tag)) ++tag;
    std::string_view data = text_.substr(begin, tag == text_.npos ? tag : tag - begin);
    if (tag == text_.npos) {
      at_ = text_.size();
      return add_data(data);
    }
    const char kind = text_[tag + 1];
    at_ = tag + 2;
    const bool strips = skip("-"), keeps = !strips && skip("+");
    if (strips) data = stripped(data, std::nullopt, false, true);
    if (!strips && !keeps && kind != '{') data = without_indentation(data);
    add_data(data);
    if (kind == '#') return read_comment();
    if (kind == '{') return read_expression(Kind::print_begin, Kind::print_end, "}}");
    if (!read_raw()) read_expression(Kind::block_begin, Kind::block_end, "%}");
  }

  bool is_tag(size_t at) const {
    return at + 1 < text_.size() && std::string_view("{%#").find(text_[at + 1]) != std::string_view::npos;
  }

  void add_data(std::string_view data) {
    if (!data.empty()) add(Kind::data, std::string(data));
  }

  /// lstrip_blocks: the white space between the line's start and the tag.
  std::string_view without_indentation(std::string_view data) const {
    const size_t line_start = data.rfind('\n') + 1;  // 0: none
    const bool whole_line = line_start > 0 || line_starts_;
    return whole_line && stripped(data.substr(line_start)).empty() ? data.substr(0, line_start) : data;
  }

  /// Behind a tag: "-" takes all white space, trim_blocks a newline unless "+" says not to.
  bool skip_end(std::string_view end, bool trims) {
    const auto text = rest();
    const bool strips = text.starts_with('-') && text.substr(1).starts_with(end);
    const bool keeps = trims && text.starts_with('+') && text.substr(1).starts_with(end);
    if (!strips && !keeps && !text.starts_with(end)) return false;
    at_ += end.size() + (strips || keeps);
    if (strips) skip_spaces();
    if (!strips && !keeps && trims) skip("\n");
    line_starts_ = text_[at_ - 1] == '\n';
    return true;
  }

  void read_comment() {
    const size_t begin = at_;
    while (!skip_end("#}", true)) {
      if (at_ >= text_.size()) fail(begin, "a comment has no end");
      ++at_;
    }
  }

  bool read_raw() {
    const size_t before = at_;
    skip_spaces();
    const bool is_raw = skip("raw");
    if (is_raw) skip_spaces();
    if (!is_raw || !skip_end("%}", false)) {
      at_ = before;
      return false;
    }
    const size_t begin = at_;
    for (size_t end = begin; (end = text_.find("{%", end)) != text_.npos; end += 2) {
      at_ = end + 2;
      const bool strips = skip("-"), keeps = !strips && skip("+");
      skip_spaces();
      if (!skip("endraw")) continue;
      skip_spaces();
      if (!skip_end("%}", true)) continue;
      auto data = text_.substr(begin, end - begin);
      if (strips) data = stripped(data, std::nullopt, false, true);
      if (!strips && !keeps) data = without_indentation(data);
      add_data(data);
      return true;
    }
    fail(at_, "raw has no endraw");
  }

  void read_expression(Kind begin_kind, Kind end_kind, std::string_view end) {
    add(begin_kind, "");
    std::string open;  // brackets
    for (;;) {
      if (open.empty() && skip_end(end, end_kind == Kind::block_end)) break;
      if (at_ >= text_.size()) fail(at_, "a tag has no end");
      const size_t before = at_;
      skip_spaces();
      if (at_ == before) read_token(open);
    }
    add(end_kind, "");
  }

  void read_token(std::string& open) {
    const char c = text_[at_];
    if (is_digit(c)) return read_number();
    if (is_word(c)) return add(Kind::name, take_while(is_word));
    if (c == '"' || c == '\'') return read_string(c);
    const auto symbol = std::ranges::find_if(kSymbols, [&](auto one) { return rest().starts_with(one); });
    if (symbol == kSymbols.end()) fail(at_, "a character that no expression has");
    if (*symbol == "(" || *symbol == "[" || *symbol == "{")
      open += *symbol == "(" ? ')' : *symbol == "[" ? ']' : '}';
    if (*symbol == ")" || *symbol == "]" || *symbol == "}") {
      if (!open.ends_with(*symbol)) fail(at_, fmt::format("'{}' closes nothing", *symbol));
      open.pop_back();
    }
    at_ += symbol->size();
    add(Kind::symbol, std::string(*symbol));
  }

  template <class Is>
  std::string take_while(Is is_part) {
    const size_t begin = at_;
    while (at_ < text_.size() && is_part(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  void read_number() {
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';  // x.0: an index
    std::string digits = take_while(is_digit);
    bool is_real = false;
    const auto digit_at = [&](size_t at) { return at < text_.size() && is_digit(text_[at]); };
    if (!after_dot && rest().starts_with('.') && digit_at(at_ + 1)) {
      is_real = true;
      ++at_;
      digits += "." + take_while(is_digit);
    }
    if (at_ < text_.size() && (is_word(text_[at_]) || (digits.size() > 1 && digits[0] == '0' && !is_real)))
      fail(at_, "this way to write a number is not supported");
    add(is_real ? Kind::real : Kind::integer, digits);
  }

  void read_string(char quote) {
    const size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != quote) at_ += text_[at_] == '\\' ? 2u : 1u;
    if (at_ >= text_.size()) fail(begin, "a str has no end");
    const auto raw = text_.substr(begin, at_ - begin);
    ++at_;
    try {
      add(Kind::text, unescaped(raw));
    } catch (const Refusal& why) {
      fail(begin, why.what());
    }
  }

  std::string_view text_;
  size_t at_ = 0;
  bool line_starts_ = true;  // the text before at_ ends with a newline, or there is none
  std::vector<Token> tokens_;
  size_t counted_ = 0;
  int counted_line_ = 1;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view template_text) {
  const std::string text = with_plain_newlines(template_text);
  return Lexer(text).run();
}

}  // namespace greta::jinja
