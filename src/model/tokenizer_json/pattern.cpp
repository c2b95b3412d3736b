#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer_json/pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>

#include "base/error.h"
#include "base/utf8.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

constexpr size_t kMaxPattern = 64 << 10, kMaxTranslated = 1 << 20;
// Of one match. A real expression needs a few steps a character; PCRE2's own limit is ten times as high.
constexpr uint32_t kMostSteps = 1'000'000;

// White_Space, and what \w means: Oniguruma's has marks, PCRE2's other numbers than digits.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

constexpr std::string_view kNoSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

/// The members of a general category ("L", "Lu") for within a class.
std::string category_members(std::string_view category) {
  std::string members = fmt::format("\\p{{{}}}", category);
  for (const UnicodeRange& range : newer_than_unicode14()) {
    if (range.category.starts_with(category))
      members += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", range.first, range.last);
  }
  return members;
}

std::string word_members() {
  // Superscripts, fractions and letters in circles and squares have no category of their own.
  constexpr std::string_view kMore =
      R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
      R"(\x{1f170}-\x{1f189})";
  std::string members(kMore);
  for (const std::string_view category : {"L", "M", "Nd", "Nl", "Pc"}) members += category_members(category);
  return members;
}

bool is_category(std::string_view name) {
  constexpr std::string_view kMajor = "LMNPSZC";
  return (name.size() == 1 || name.size() == 2) && kMajor.find(name[0]) != kMajor.npos;
}

/// Walks over an expression and writes PCRE2's.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      step();
      if (out_.size() > kMaxTranslated) fail("it has too many classes");
    }
    if (!groups_.empty()) fail("a parenthesis is not closed");
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    fail_input("{}: the expression '{}' can't be read at byte {}: {}", where_, excerpt(in_), at_, what);
  }
  std::string_view rest() const { return in_.substr(at_); }
  bool take(std::string_view text) {
    if (!rest().starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  void step() {
    const char c = in_[at_];
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '[') return atom([&] { return char_class(); });
    if (c == '\\') return atom([&] { return escape(false); });
    if (c == '{' && interval()) return;
    if (c == '|' || c == '*' || c == '+' || c == '?' || c == '^' || c == '$' || c == '.') {
      if (c == '.') atom_ = out_.size();
      out_ += c, ++at_;
      return;
    }
    atom([&] {
      const size_t length = std::max<size_t>(utf8_length(in_, at_), 1);
      const std::string text(in_.substr(at_, length));
      at_ += length;
      return text;
    });
  }

  template <class Make>
  void atom(Make make) {
    atom_ = out_.size();
    out_ += make();
  }

  void open_group() {
    if (rest().starts_with("(*")) fail("a verb");
    for (const std::string_view inline_dot : {"(?m", "(?-m", "(?im", "(?mi", "(?x"}) {
      if (rest().starts_with(inline_dot)) fail("an option that GRETA does not know");
    }
    groups_.push_back(out_.size());
    if (groups_.size() > 200) fail("too many groups within each other");
    out_ += '(', ++at_;
    if (take("?")) {
      out_ += '?';
      if (at_ < in_.size() &&
          (in_[at_] == 'R' || in_[at_] == '&' || in_[at_] == '(' || (in_[at_] >= '0' && in_[at_] <= '9')))
        fail("a call or a condition");
    }
  }

  void close_group() {
    if (groups_.empty()) fail("a parenthesis too many");
    atom_ = groups_.back();
    groups_.pop_back();
    out_ += ')', ++at_;
  }

  /// {n,m}; a + after it repeats the whole (PCRE2 would take it as possessive).
  bool interval() {
    const size_t end = in_.find('}', at_);
    if (end == in_.npos) return false;
    const std::string_view inside = in_.substr(at_ + 1, end - at_ - 1);
    if (inside.empty() || inside.find_first_not_of("0123456789,") != inside.npos) return false;
    out_ += in_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    if (at_ < in_.size() && in_[at_] == '+') out_ = out_.substr(0, atom_) + "(?:" + out_.substr(atom_) + ")";
    return true;
  }

  /// What follows a backslash, ready for its place.
  std::string escape(bool in_class) {
    if (at_ + 1 >= in_.size()) fail("it ends with a backslash");
    const char c = in_[at_ + 1];
    const auto members = [&](std::string_view of, bool negated) {
      at_ += 2;
      if (!in_class) return fmt::format("[{}{}]", negated ? "^" : "", of);
      if (negated) fail("a negated class within a class");
      return std::string(of);
    };
    switch (c) {
      case 's': return members(kSpace, false);
      case 'S': return members(kNoSpace, false);
      case 'w': return members(word_members(), false);
      case 'W': return members(word_members(), true);
      case 'd': return members(category_members("Nd"), false);
      case 'D': return members(category_members("Nd"), true);
      case 'h': return members("0-9a-fA-F", false);
      case 'H': return members("0-9a-fA-F", true);
      case 'p':
      case 'P': return property(c == 'P', in_class);
      case 'u': return code_point(4);
      case 'x': return in_.substr(at_ + 2, 1) == "{" ? braced_code_point() : code_point(2);
      default: break;
    }
    constexpr std::string_view kSame = "tnrfvae0AzZbB";
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter && kSame.find(c) == kSame.npos) fail(fmt::format("\\{}", c));
    const size_t length = 1 + std::max<size_t>(utf8_length(in_, at_ + 1), 1);
    const std::string text(in_.substr(at_, length));
    at_ += length;
    // An escaped character that is no letter stands for itself.
    return text;
  }

  std::string property(bool negated, bool in_class) {
    const size_t end = in_.find('}', at_);
    if (in_.substr(at_ + 2, 1) != "{" || end == in_.npos) fail("\\p without braces");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    if (name.starts_with('^')) negated = !negated, name.remove_prefix(1);
    constexpr std::array<std::array<std::string_view, 2>, 7> kLong{{{"Letter", "L"},
                                                                    {"Mark", "M"},
                                                                    {"Number", "N"},
                                                                    {"Punctuation", "P"},
                                                                    {"Symbol", "S"},
                                                                    {"Separator", "Z"},
                                                                    {"Other", "C"}}};
    for (const auto& [full, brief] : kLong) {
      if (name == full) name = brief;
    }
    at_ = end + 1;
    if (!is_category(name)) {  // a script; PCRE2 would take the script's extensions
      if (name.empty() ||
          name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") != name.npos)
        fail("a property");
      return fmt::format("\\{}{{sc:{}}}", negated ? 'P' : 'p', name);
    }
    const std::string of = category_members(name);
    if (!in_class) return fmt::format("[{}{}]", negated ? "^" : "", of);
    return negated ? fmt::format("\\P{{{}}}", name) : of;
  }

  std::string code_point(size_t digits) {
    const std::string_view hex = in_.substr(at_ + 2, digits);
    if (hex.size() != digits || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos)
      fail("a code point");
    at_ += 2 + digits;
    return fmt::format("\\x{{{}}}", hex);
  }

  std::string braced_code_point() {
    const size_t end = in_.find('}', at_);
    if (end == in_.npos) fail("a code point");
    const std::string text(in_.substr(at_, end + 1 - at_));
    at_ = end + 1;
    return text;
  }

  /// A class. One within it is part of it; what follows && is asked first.
  std::string char_class() {
    std::string members, condition;
    ++at_;
    const bool negated = take("^");
    if (rest().starts_with("]")) members += "\\]", ++at_;
    while (!take("]")) {
      if (at_ >= in_.size()) fail("a class is not closed");
      if (rest().starts_with("[:")) {
        const size_t end = in_.find(":]", at_);
        if (end == in_.npos) fail("a class is not closed");
        members += in_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (rest().starts_with("[")) {
        const std::string inner = inner_class();
        members += inner;
      } else if (take("&&")) {
        if (negated || !condition.empty()) fail("&& of classes");
        condition = fmt::format("(?=[{}])", members);
        members.clear();
        if (rest().starts_with("[^")) {
          const std::string other = char_class();
          if (!take("]")) fail("&& of classes");
          return fmt::format("(?:{}{})", condition, other);
        }
      } else if (in_[at_] == '\\') {
        members += escape(true);
      } else {
        const size_t length = std::max<size_t>(utf8_length(in_, at_), 1);
        members += in_.substr(at_, length);
        at_ += length;
      }
    }
    const std::string text = fmt::format("[{}{}]", negated ? "^" : "", members);
    return condition.empty() ? text : fmt::format("(?:{}{})", condition, text);
  }

  /// The members of a class within a class.
  std::string inner_class() {
    if (++depth_ > 20) fail("too many classes within each other");
    const std::string text = char_class();
    --depth_;
    if (!text.starts_with('[') || text.starts_with("[^")) fail("a negated class within a class");
    return text.substr(1, text.size() - 2);
  }

  std::string_view in_;
  const std::string& where_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where the last atom begins in `out_`
  std::vector<size_t> groups_;
  int depth_ = 0;
};

}  // namespace

struct Pattern::Code {
  struct Free {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  };
  std::unique_ptr<pcre2_code, Free> code;
  std::unique_ptr<pcre2_match_context, Free> context;
};

std::string pcre2_pattern(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPattern)
    fail_input("{}: an expression of {} bytes; GRETA takes up to {}", where, pattern.size(), kMaxPattern);
  return Translator(pattern, where).run();
}

Pattern::Pattern(std::string_view pattern, const std::string& where) : where_(where) {
  const std::string translated = pcre2_pattern(pattern, where);
  int error = 0;
  PCRE2_SIZE at = 0;
  auto code = std::make_shared<Code>();
  // Ruby's ^ and $ are those of a line.
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), kOptions,
                                 &error, &at, nullptr));
  if (!code->code) {
    std::array<PCRE2_UCHAR, 120> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail_input("{}: the expression '{}' can't be read: {}", where, excerpt(pattern),
               reinterpret_cast<const char*>(message.data()));
  }
  pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);  // where it can't, matching interprets
  code->context.reset(pcre2_match_context_create(nullptr));
  if (!code->context) throw std::bad_alloc();
  pcre2_set_match_limit(code->context.get(), kMostSteps);
  code_ = std::move(code);
}

Pattern Pattern::literal(std::string_view text) {
  Pattern pattern;
  pattern.literal_ = text;
  return pattern;
}

std::vector<Stretch> Pattern::stretches(std::string_view text) const {
  std::vector<Stretch> all;
  size_t done = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (begin > done) all.push_back({done, begin, false});
    if (end > begin) all.push_back({begin, end, true});
    done = end;
  };
  if (!code_) {
    for (size_t at = 0; !literal_.empty() && (at = text.find(literal_, at)) != text.npos;
         at += literal_.size())
      add(at, at + literal_.size());
  } else {
    const std::unique_ptr<pcre2_match_data, Code::Free> data(pcre2_match_data_create(1, nullptr));
    if (!data) throw std::bad_alloc();
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto match = [&](size_t from, uint32_t options) {
      return pcre2_match(code_->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | options,
                         data.get(), code_->context.get());
    };
    for (size_t from = 0; from < text.size();) {
      int result = match(from, 0);
      if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(from, PCRE2_NO_JIT);  // a very long word
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0)
        fail_input("{}: an expression needs more than {} steps at byte {} of the text", where_, kMostSteps,
                   from);
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
      if (range[0] < from || range[1] < range[0]) break;  // \K and look-behind: not of tokenizers
      add(range[0], range[1]);
      from = range[1];
      if (range[1] == range[0] && from < text.size()) from += std::max<size_t>(utf8_length(text, from), 1);
      if (range[1] == range[0] && range[1] == text.size()) break;
    }
  }
  if (done < text.size()) all.push_back({done, text.size(), false});
  return all;
}

}  // namespace greta
