// What stands behind |. Source: jinja2 3.1, filters.py; tojson is transformers'
// (utils/chat_template_utils.py).

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "jinja/arithmetic.h"
#include "jinja/interpreter.h"
#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

/// A str as it is, anything else as Python prints it.
std::string soft_text(Interpreter& with, const Value& value) {
  return is<Text>(value) ? std::string(text_of(value)) : to_string(with.budget, value);
}

Value made_text(Interpreter& with, std::string made) { return make_text(with.budget, std::move(made)); }

// Texts.

Value filter_trim(Interpreter& with, const Value& self, const Bound& given) {
  const std::string all = soft_text(with, self);
  std::optional<std::string_view> chars;
  if (given.sets(0)) chars = text_of(given[0]);
  return made_text(with, std::string(stripped(all, chars)));
}

Value filter_upper(Interpreter& with, const Value& self, const Bound&) {
  return made_text(with, upper(soft_text(with, self)));
}

Value filter_lower(Interpreter& with, const Value& self, const Bound&) {
  return made_text(with, lower(soft_text(with, self)));
}

Value filter_capitalize(Interpreter& with, const Value& self, const Bound&) {
  const std::string all = soft_text(with, self);
  return made_text(with, upper(all.substr(0, 1)) + lower(all.empty() ? "" : all.substr(1)));
}

Value filter_string(Interpreter& with, const Value& self, const Bound&) {
  return is<Text>(self) ? self : made_text(with, to_string(with.budget, self));
}

Value filter_safe(Interpreter& with, const Value& self, const Bound&) {
  Text marked = std::get<Text>(made_text(with, to_string(with.budget, self)));
  marked.marked = true;
  return marked;
}

Value filter_replace(Interpreter& with, const Value& self, const Bound& given) {
  const Value all = made_text(with, soft_text(with, self));
  Arguments arguments{
      {made_text(with, soft_text(with, given[0])), made_text(with, soft_text(with, given[1]))}, {}};
  if (given.sets(2)) arguments.values.push_back(given[2]);
  return with.apply(find_text_method("replace"), "method", "replace", all, std::move(arguments));
}

Value filter_indent(Interpreter& with, const Value& self, const Bound& given) {
  constexpr int64_t kWidest = 256;
  const int64_t width = is<Text>(given[0]) || !given.has(0) ? 4 : integer_of(given[0]);
  if (width < 0 || width > kWidest) refuse("an indentation of {} is not supported", width);
  const auto indent =
      is<Text>(given[0]) ? std::string(text_of(given[0])) : std::string(static_cast<size_t>(width), ' ');
  const bool first = truth(given[1]), blank = truth(given[2]);
  const std::string all = std::string(text_of(self)) + "\n";
  std::string result;
  bool is_first = true;
  for (const auto line : split_lines(all)) {
    with.budget.charge(1 + indent.size() + line.size());
    if (!is_first) result += "\n";
    if (is_first ? first : blank || !line.empty()) result += indent;
    result += line;
    is_first = false;
  }
  return made_text(with, std::move(result));
}

Value filter_tojson(Interpreter& with, const Value& self, const Bound& given) {
  JsonStyle style;
  style.ascii = truth(given[0]);
  style.sorted = truth(given[3]);
  if (given.sets(1)) {
    constexpr int64_t kWidest = 64;
    if (!is<Text>(given[1]) && integer_of(given[1]) > kWidest)
      refuse("an indentation of more than {}", kWidest);
    style.indent = is<Text>(given[1])
                       ? std::string(text_of(given[1]))
                       : std::string(static_cast<size_t>(std::max<int64_t>(0, integer_of(given[1]))), ' ');
    style.comma = ",";
  }
  if (given.sets(2)) {
    const Values separators = iterate(with.budget, given[2]);
    if (separators.size() != 2) refuse("separators are a pair");
    style.comma = text_of(separators[0]);
    style.colon = text_of(separators[1]);
  }
  return made_text(with, to_json(with.budget, self, style));
}

// Numbers.

/// A whole text as a decimal number.
std::optional<double> real_in(std::string_view all) {
  double number = 0;
  if (all.starts_with('+')) all.remove_prefix(1);
  const auto read = std::from_chars(all.data(), all.data() + all.size(), number);
  if (read.ec != std::errc() || read.ptr != all.data() + all.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> truncated(double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (std::fabs(number) >= 0x1p62) refuse("an int beyond 62 bits is not supported");
  return static_cast<int64_t>(number);
}

void refuse_undefined(const Value& value) {
  if (is<Undefined>(value)) refuse("an undefined value is no number");
}

Value filter_int(Interpreter&, const Value& self, const Bound& given) {
  refuse_undefined(self);
  if (given.has(1) && integer_of(given[1]) != 10) refuse("a base other than 10 is not supported");
  const Value otherwise = given.has(0) ? given[0] : Value(int64_t{0});
  if (is_integer(self)) return integer_of(self);
  std::optional<double> number;
  if (is<Text>(self)) {
    auto all = stripped(text_of(self));
    if (all.find('_') != all.npos) refuse("a number with '_' is not supported");
    if (all.starts_with('+')) all.remove_prefix(1);
    int64_t whole = 0;
    const auto read = std::from_chars(all.data(), all.data() + all.size(), whole);
    if (read.ec == std::errc() && read.ptr == all.data() + all.size() && !all.empty()) return whole;
    number = real_in(all);
  } else if (is<double>(self)) {
    number = std::get<double>(self);
  }
  const auto whole = number ? truncated(*number) : std::nullopt;
  return whole ? Value(*whole) : otherwise;
}

Value filter_float(Interpreter&, const Value& self, const Bound& given) {
  refuse_undefined(self);
  const Value otherwise = given.has(0) ? given[0] : Value(0.0);
  if (is_number(self)) return real_of(self);
  const auto number = is<Text>(self) ? real_in(stripped(text_of(self))) : std::nullopt;
  return number ? Value(*number) : otherwise;
}

Value filter_abs(Interpreter&, const Value& self, const Bound&) {
  if (is<double>(self)) return std::fabs(std::get<double>(self));
  const int64_t number = integer_of(self);
  return number < 0 ? negation("-", number) : Value(number);
}

/// To a whole number, halves to even; other precisions are a matter of decimal digits.
Value filter_round(Interpreter&, const Value& self, const Bound& given) {
  if (given.has(1) || (given.has(0) && integer_of(given[0]) != 0))
    refuse("this way to round is not supported");
  return is<double>(self) ? Value(std::nearbyint(std::get<double>(self))) : Value(integer_of(self));
}

// Anything.

Value filter_default(Interpreter&, const Value& self, const Bound& given) {
  const bool stands = truth(given[1]) ? truth(self) : !is<Undefined>(self);
  if (stands) return self;
  return given.has(0) ? given[0] : Value(Text{std::make_shared<const std::string>()});
}

Value filter_length(Interpreter& with, const Value& self, const Bound&) {
  return static_cast<int64_t>(length(with.budget, self));
}

constexpr std::array kFilters{
    Builtin{"abs", "", 0, filter_abs},
    Builtin{"capitalize", "", 0, filter_capitalize},
    Builtin{"count", "", 0, filter_length},
    Builtin{"d", "default_value boolean", 0, filter_default},
    Builtin{"default", "default_value boolean", 0, filter_default},
    Builtin{"float", "default", 0, filter_float},
    Builtin{"indent", "width first blank", 0, filter_indent},
    Builtin{"int", "default base", 0, filter_int},
    Builtin{"length", "", 0, filter_length},
    Builtin{"lower", "", 0, filter_lower},
    Builtin{"replace", "old new count", 2, filter_replace},
    Builtin{"round", "precision method", 0, filter_round},
    Builtin{"safe", "", 0, filter_safe},
    Builtin{"string", "", 0, filter_string},
    Builtin{"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
    Builtin{"trim", "chars", 0, filter_trim},
    Builtin{"upper", "", 0, filter_upper},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const Builtin* found = find_in(kFilters, name);
  return found == nullptr ? find_list_filter(name) : found;
}

}  // namespace greta::jinja
