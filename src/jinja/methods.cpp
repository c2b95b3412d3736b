// Methods of Python's str, list and dict, and the global functions.

#include <algorithm>
#include <array>

#include "jinja/interpreter.h"
#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

Value text(Interpreter& with, std::string_view made) { return make_text(with.budget, made); }

Value texts(Interpreter& with, const std::vector<std::string_view>& parts) {
  Values values;
  for (const auto part : parts) values.push_back(text(with, part));
  return make_list(with.budget, std::move(values));
}

std::optional<std::string_view> text_if_set(const Bound& given, size_t i) {
  if (!given.sets(i)) return std::nullopt;
  return text_of(given[i]);
}

template <bool left, bool right>
Value text_strip(Interpreter& with, const Value& self, const Bound& given) {
  return text(with, stripped(text_of(self), text_if_set(given, 0), left, right));
}

Value text_split(Interpreter& with, const Value& self, const Bound& given) {
  return texts(with, split(text_of(self), text_if_set(given, 0), given.has(1) ? integer_of(given[1]) : -1));
}

Value text_rsplit(Interpreter& with, const Value& self, const Bound& given) {
  const auto all = text_of(self), separator = text_of(given[0]);
  auto parts = split(all, separator, -1);
  const int64_t most = given.has(1) ? integer_of(given[1]) : -1;
  if (most < 0 || std::ssize(parts) <= most + 1) return texts(with, parts);
  const auto kept = parts.end() - static_cast<std::ptrdiff_t>(most);  // the rest stays one
  const char* const end = kept == parts.end() ? all.end() : kept->data() - separator.size();
  std::vector<std::string_view> result{{all.data(), static_cast<size_t>(end - all.data())}};
  result.insert(result.end(), kept, parts.end());
  return texts(with, result);
}

Value text_splitlines(Interpreter& with, const Value& self, const Bound&) {
  return texts(with, split_lines(text_of(self)));
}

template <bool at_end>
Value text_has_side(Interpreter& with, const Value& self, const Bound& given) {
  const auto all = text_of(self);
  const auto has = [&](const Value& side) {
    return at_end ? all.ends_with(text_of(side)) : all.starts_with(text_of(side));
  };
  if (is<Text>(given[0])) return has(given[0]);
  const auto* list = std::get_if<ListPtr>(&given[0]);
  if (list == nullptr || (*list)->kind != Sequence::tuple)
    refuse("expected a str, got a {}", type_name(given[0]));
  with.budget.charge((*list)->items.size());
  return std::ranges::any_of((*list)->items, has);
}

Value text_replace(Interpreter& with, const Value& self, const Bound& given) {
  const auto all = text_of(self), old = text_of(given[0]), other = text_of(given[1]);
  uint64_t found = 0;
  for (size_t at = 0; !old.empty() && (at = all.find(old, at)) != all.npos; at += old.size()) ++found;
  if (other.size() > 0 && found > with.budget.left / other.size()) with.budget.charge(with.budget.left + 1);
  with.budget.charge(found * other.size());
  return text(with, replaced(all, old, other, given.has(2) ? integer_of(given[2]) : -1));
}

Value text_removeprefix(Interpreter& with, const Value& self, const Bound& given) {
  auto all = text_of(self);
  if (all.starts_with(text_of(given[0]))) all.remove_prefix(text_of(given[0]).size());
  return text(with, all);
}

Value text_removesuffix(Interpreter& with, const Value& self, const Bound& given) {
  auto all = text_of(self);
  if (all.ends_with(text_of(given[0]))) all.remove_suffix(text_of(given[0]).size());
  return text(with, all);
}

Value text_upper(Interpreter& with, const Value& self, const Bound&) {
  return text(with, upper(text_of(self)));
}
Value text_lower(Interpreter& with, const Value& self, const Bound&) {
  return text(with, lower(text_of(self)));
}

template <bool from_end>
Value text_find(Interpreter&, const Value& self, const Bound& given) {
  const auto all = text_of(self), part = text_of(given[0]);
  const size_t at = from_end ? all.rfind(part) : all.find(part);
  return at == all.npos ? int64_t{-1} : static_cast<int64_t>(count_characters(all.substr(0, at)));
}

Value text_count(Interpreter&, const Value& self, const Bound& given) {
  return static_cast<int64_t>(split(text_of(self), text_of(given[0]), -1).size()) - 1;
}

Value text_isdigit(Interpreter&, const Value& self, const Bound&) {
  const auto all = text_of(self);
  if (count_characters(all) != all.size()) refuse("digits beyond ASCII are not supported");
  return !all.empty() && std::ranges::all_of(all, [](char c) { return c >= '0' && c <= '9'; });
}

Value text_join(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, given[0]);
  std::string result;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto between = i == 0 ? std::string_view() : text_of(self);
    with.budget.charge(between.size() + text_of(items[i]).size());
    result.append(between).append(text_of(items[i]));
  }
  return text(with, result);
}

/// '{}', '{0}' and '{name}', without conversions and formats.
Value text_format(Interpreter& with, const Value& self, const Bound& given) {
  const auto all = text_of(self);
  std::string result;
  size_t next = 0;
  const auto argument = [&](std::string_view name) -> Value {
    const bool is_index = std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
    if (is_index) {
      if (name.size() > 3) refuse("format() has no value for '{{{}}}'", name);
      const size_t i = name.empty() ? next++ : static_cast<size_t>(std::stoi(std::string(name)));
      if (i < given.all.values.size()) return given.all.values[i];
    } else {
      const auto found = std::ranges::find(given.all.named, name, &std::pair<std::string, Value>::first);
      if (found != given.all.named.end()) return found->second;
    }
    refuse("format() has no value for '{{{}}}'", name);
  };
  for (size_t at = 0; at < all.size(); ++at) {
    const char c = all[at];
    const bool twice = (c == '{' || c == '}') && at + 1 < all.size() && all[at + 1] == c;
    if (c == '{' && !twice) {
      const size_t end = all.find('}', at);
      const auto name = all.substr(at + 1, end == all.npos ? end : end - at - 1);
      if (end == all.npos || name.find_first_of(":!.[{") != name.npos)
        refuse("format() of '{{{}' is not supported", name);
      const std::string value = to_string(with.budget, argument(name));
      with.budget.charge(value.size());
      result += value;
      at = end;
    } else {
      if (c == '}' && !twice) refuse("format() of a lone '}}'");
      result += c;
      at += twice;
    }
  }
  return text(with, result);
}

Value text_capitalize(Interpreter& with, const Value& self, const Bound&) {
  return with.apply(find_filter("capitalize"), "filter", "capitalize", self, {});
}

Value list_index(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, self);
  const auto found =
      std::ranges::find_if(items, [&](const Value& item) { return equal(with.budget, item, given[0]); });
  if (found == items.end()) refuse("index() of what the list does not have");
  return static_cast<int64_t>(found - items.begin());
}

Value list_count(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, self);
  return static_cast<int64_t>(
      std::ranges::count_if(items, [&](const Value& item) { return equal(with.budget, item, given[0]); }));
}

Value changes_its_object(Interpreter&, const Value& self, const Bound&) {
  refuse("changing a {} is what transformers refuses, too", type_name(self));
}

const Dict& dict_of(const Value& self) { return *std::get<DictPtr>(self); }

Value dict_get(Interpreter& with, const Value& self, const Bound& given) {
  const Value* found = find(with.budget, dict_of(self), given[0]);
  if (found != nullptr) return *found;
  return given.has(1) ? given[1] : Value(None{});
}

Value dict_keys(Interpreter& with, const Value& self, const Bound&) {
  return make_list(with.budget, iterate(with.budget, self), Sequence::view);
}

Value dict_values(Interpreter& with, const Value& self, const Bound&) {
  Values values;
  for (const auto& [key, value] : dict_of(self).items) values.push_back(value);
  return make_list(with.budget, std::move(values), Sequence::view);
}

Value dict_items(Interpreter& with, const Value& self, const Bound&) {
  Values items;
  for (const auto& [key, value] : dict_of(self).items)
    items.push_back(make_list(with.budget, {key, value}, Sequence::tuple));
  return make_list(with.budget, std::move(items), Sequence::view);
}

Value dict_copy(Interpreter&, const Value& self, const Bound&) { return self; }

// Global functions.

Value raise_exception(Interpreter& with, const Value&, const Bound& given) {
  refuse("the template refuses: {}", to_string(with.budget, given[0]));
}

Value strftime_now(Interpreter& with, const Value&, const Bound& given) {
  return text(with, date_text(text_of(given[0])));
}

Value range(Interpreter& with, const Value&, const Bound& given) {
  constexpr int64_t kMost = 100000;  // as jinja2's sandbox
  const bool one = !given.has(1);
  const int64_t start = one ? 0 : integer_of(given[0]), stop = integer_of(given[one ? 0 : 1]);
  const int64_t step = given.has(2) ? integer_of(given[2]) : 1;
  constexpr int64_t kFar = int64_t{1} << 40;
  if (step == 0 || std::max({start, stop, step}) > kFar || std::min({start, stop, step}) < -kFar)
    refuse("this range is not supported");
  Values items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (std::ssize(items) == kMost) refuse("a range of more than {} is too long", kMost);
    items.emplace_back(i);
  }
  return make_list(with.budget, std::move(items), Sequence::range);
}

std::vector<std::pair<Value, Value>> named_items(Interpreter& with, const Arguments& given) {
  std::vector<std::pair<Value, Value>> items;
  if (given.values.size() > 1) refuse("expected names with values");
  if (!given.values.empty()) {
    const auto* dict = std::get_if<DictPtr>(&given.values[0]);
    if (dict == nullptr) refuse("expected a dict, got a {}", type_name(given.values[0]));
    items = (*dict)->items;
  }
  for (const auto& [name, value] : given.named) items.emplace_back(text(with, name), value);
  return items;
}

Value make_namespace(Interpreter& with, const Value&, const Bound& given) {
  auto space = std::make_shared<Namespace>();
  for (const auto& [name, value] : named_items(with, given.all)) {
    check_can_be_held(value);
    space->items[std::string(text_of(name))] = value;
  }
  return space;
}

Value dict_function(Interpreter& with, const Value&, const Bound& given) {
  return make_dict(with.budget, named_items(with, given.all));
}

constexpr std::array kTextMethods{
    Builtin{"capitalize", "", 0, text_capitalize},
    Builtin{"count", "sub", 1, text_count},
    Builtin{"endswith", "suffix", 1, text_has_side<true>},
    Builtin{"find", "sub", 1, text_find<false>},
    Builtin{"format", "*", 0, text_format},
    Builtin{"isdigit", "", 0, text_isdigit},
    Builtin{"join", "iterable", 1, text_join},
    Builtin{"lower", "", 0, text_lower},
    Builtin{"lstrip", "chars", 0, text_strip<true, false>},
    Builtin{"removeprefix", "prefix", 1, text_removeprefix},
    Builtin{"removesuffix", "suffix", 1, text_removesuffix},
    Builtin{"replace", "old new count", 2, text_replace},
    Builtin{"rfind", "sub", 1, text_find<true>},
    Builtin{"rsplit", "sep maxsplit", 1, text_rsplit},
    Builtin{"rstrip", "chars", 0, text_strip<false, true>},
    Builtin{"split", "sep maxsplit", 0, text_split},
    Builtin{"splitlines", "", 0, text_splitlines},
    Builtin{"startswith", "prefix", 1, text_has_side<false>},
    Builtin{"strip", "chars", 0, text_strip<true, true>},
    Builtin{"upper", "", 0, text_upper},
};

constexpr std::array kListMethods{
    Builtin{"append", "*", 0, changes_its_object},  Builtin{"clear", "*", 0, changes_its_object},
    Builtin{"count", "value", 0, list_count},       Builtin{"extend", "*", 0, changes_its_object},
    Builtin{"index", "value", 0, list_index},       Builtin{"insert", "*", 0, changes_its_object},
    Builtin{"pop", "*", 0, changes_its_object},     Builtin{"remove", "*", 0, changes_its_object},
    Builtin{"reverse", "*", 0, changes_its_object}, Builtin{"sort", "*", 0, changes_its_object},
};

constexpr std::array kDictMethods{
    Builtin{"clear", "*", 0, changes_its_object},
    Builtin{"copy", "", 0, dict_copy},
    Builtin{"get", "key default", 0, dict_get},
    Builtin{"items", "", 0, dict_items},
    Builtin{"keys", "", 0, dict_keys},
    Builtin{"pop", "*", 0, changes_its_object},
    Builtin{"popitem", "*", 0, changes_its_object},
    Builtin{"setdefault", "*", 0, changes_its_object},
    Builtin{"update", "*", 0, changes_its_object},
    Builtin{"values", "", 0, dict_values},
};

constexpr std::array kFunctions{
    Function{{"dict", "*", 0, dict_function}},
    Function{{"namespace", "*", 0, make_namespace}},
    Function{{"raise_exception", "message", 0, raise_exception}},
    Function{{"range", "start stop step", 1, range}},
    Function{{"strftime_now", "format", 1, strftime_now}},
};

}  // namespace

const Builtin* find_text_method(std::string_view name) { return find_in(kTextMethods, name); }
const Builtin* find_list_method(std::string_view name) { return find_in(kListMethods, name); }
const Builtin* find_dict_method(std::string_view name) { return find_in(kDictMethods, name); }
const Function* find_function(std::string_view name) { return find_in(kFunctions, name); }

}  // namespace greta::jinja
