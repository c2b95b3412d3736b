#include "jinja/builtin.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

#include "jinja/interpreter.h"
#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

// What Python's types have by name: an attribute of a dict is first looked for here.
constexpr std::string_view kDictNames =
    " clear copy fromkeys get items keys pop popitem setdefault update values ";
constexpr std::string_view kListNames =
    " append clear copy count extend index insert pop remove reverse sort ";
constexpr std::string_view kTextNames =
    " capitalize casefold center count encode endswith expandtabs find format format_map index isalnum "
    "isalpha "
    "isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust "
    "lower "
    "lstrip maketrans partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit "
    "rstrip split "
    "splitlines startswith strip swapcase title translate upper zfill ";
constexpr std::string_view kNumberNames =
    " as_integer_ratio bit_count bit_length conjugate denominator from_bytes fromhex hex imag is_integer "
    "numerator "
    "real to_bytes ";

std::string_view names_of(const Value& value) {
  if (is<DictPtr>(value)) return kDictNames;
  if (is<ListPtr>(value)) return kListNames;
  if (is<Text>(value)) return kTextNames;
  return is_number(value) ? kNumberNames : std::string_view();
}

void refuse_python_name(const Value& value, std::string_view name) {
  if (name.starts_with("__") || names_of(value).find(fmt::format(" {} ", name)) != std::string_view::npos)
    refuse("the attribute '{}' of a {} is not supported", name, type_name(value));
}

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto size = std::ssize(*loop.items), at = static_cast<std::ptrdiff_t>(loop.at);
  const auto item = [&](std::ptrdiff_t i) {
    return i >= 0 && i < size ? (*loop.items)[static_cast<size_t>(i)] : Value(Undefined{"loop's neighbour"});
  };
  const auto number = [](std::ptrdiff_t n) { return Value(int64_t{n}); };
  if (name == "index") return number(at + 1);
  if (name == "index0") return number(at);
  if (name == "revindex") return number(size - at);
  if (name == "revindex0") return number(size - at - 1);
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 == size;
  if (name == "length") return number(size);
  if (name == "previtem") return item(at - 1);
  if (name == "nextitem") return item(at + 1);
  if (name == "depth") return number(1);  // of recursive loops, which there are none of
  if (name == "depth0") return number(0);
  if (name == "cycle" || name == "changed" || name.starts_with("_")) refuse("loop.{} is not supported", name);
  return Undefined{std::string(name)};
}

}  // namespace

Bound bound(const Builtin& builtin, Arguments arguments, std::string_view what) {
  if (builtin.parameters == "*") return {{}, std::move(arguments)};
  const auto names = split(builtin.parameters, std::nullopt, -1);
  if (arguments.values.size() > names.size()) refuse("the {} takes at most {} arguments", what, names.size());
  Bound result{std::move(arguments.values), {}};
  result.values.resize(names.size());
  for (auto& [name, value] : arguments.named) {
    const auto place = static_cast<size_t>(std::ranges::find(names, name) - names.begin());
    if (place == names.size() || result.has(place)) refuse("the {} has no parameter '{}' left", what, name);
    result.values[place] = std::move(value);
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (!result.has(i)) refuse("the {} needs a value for '{}'", what, names[i]);
  }
  return result;
}

Value attribute_of(Budget& budget, const Value& value, std::string_view name) {
  if (const auto* undefined = std::get_if<Undefined>(&value)) refuse("'{}' is undefined", undefined->name);
  if (const auto* loop = std::get_if<const Loop*>(&value)) return loop_attribute(**loop, name);
  refuse_python_name(value, name);
  if (const auto* space = std::get_if<std::shared_ptr<Namespace>>(&value)) {
    const auto found = (*space)->items.find(name);
    if (found != (*space)->items.end()) return found->second;
  }
  if (const auto* dict = std::get_if<DictPtr>(&value)) {
    if (const Value* found = find(budget, **dict, make_text(budget, name))) return *found;
  }
  return Undefined{std::string(name)};
}

Value item_of(Budget& budget, const Value& value, const Value& key) {
  if (const auto* undefined = std::get_if<Undefined>(&value)) refuse("'{}' is undefined", undefined->name);
  if (const auto* dict = std::get_if<DictPtr>(&value)) {
    if (is<ListPtr>(key) || is<DictPtr>(key)) return Undefined{std::string(type_name(key))};
    if (const Value* found = find(budget, **dict, key)) return *found;
  }
  if (is<Text>(key)) return attribute_of(budget, value, text_of(key));
  const Undefined none{is_integer(key) ? std::to_string(integer_of(key)) : std::string(type_name(key))};
  if (!is_integer(key)) return none;
  const auto place = [&](size_t size) {
    const int64_t at = integer_of(key);
    return at < 0 ? at + static_cast<int64_t>(size) : at;
  };
  if (is<Text>(value)) {
    const auto text = text_of(value);
    budget.charge(text.size());
    const auto all = characters(text);
    const int64_t at = place(all.size());
    return at < 0 || at >= std::ssize(all) ? Value(none) : make_text(budget, all[static_cast<size_t>(at)]);
  }
  const auto* list = std::get_if<ListPtr>(&value);
  if (list == nullptr || (*list)->kind == Sequence::view || (*list)->kind == Sequence::generator) return none;
  const int64_t at = place((*list)->items.size());
  return at < 0 || at >= std::ssize((*list)->items) ? Value(none) : (*list)->items[static_cast<size_t>(at)];
}

Value at_path(Budget& budget, const Value& value, const Value& path) {
  if (is_integer(path)) return item_of(budget, value, path);
  Value found = value;
  for (const auto step : split(text_of(path), ".", -1)) {
    int64_t index = 0;
    const auto read = std::from_chars(step.data(), step.data() + step.size(), index);
    const bool is_index = read.ec == std::errc() && read.ptr == step.data() + step.size() && index >= 0;
    found = item_of(budget, found, is_index ? Value(index) : make_text(budget, step));
  }
  return found;
}

std::string date_text(std::string_view format) {
  constexpr std::string_view kConversions = "YymdeBbAaHIMSpjU%";
  for (size_t at = 0; (at = format.find('%', at)) != format.npos; at += 2) {
    if (at + 1 < format.size() && format[at + 1] == '-') ++at;
    if (at + 1 >= format.size() || kConversions.find(format[at + 1]) == kConversions.npos)
      refuse("the date's format '{}' is not supported", format);
  }
  std::tm day{};
  day.tm_year = 2024 - 1900, day.tm_mon = 6, day.tm_mday = 26, day.tm_wday = 5, day.tm_yday = 207;
  std::array<char, 256> text{};
  const size_t size = std::strftime(text.data(), text.size(), std::string(format).c_str(), &day);
  if (size == 0 && !format.empty()) refuse("the date's format is too long");
  return {text.data(), size};
}

}  // namespace greta::jinja
