// Filters of lists and dicts. Those that Python makes generators of are run at once here: what they make can
// be walked once all the same.

#include <algorithm>
#include <array>

#include "jinja/arithmetic.h"
#include "jinja/interpreter.h"
#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

Value generator(Interpreter& with, Values items) {
  return make_list(with.budget, std::move(items), Sequence::generator);
}

/// The items, or what is at a path of each.
Values keys_of(Interpreter& with, const Values& items, const Value& path, bool ignore_case) {
  Values keys;
  for (const Value& item : items) {
    Value key = is<Undefined>(path) || is<None>(path) ? item : at_path(with.budget, item, path);
    if (ignore_case && is<Text>(key)) key = make_text(with.budget, lower(text_of(key)));
    keys.push_back(std::move(key));
  }
  return keys;
}

/// The order in which `keys` are sorted; those that are equal stay as they are.
std::vector<size_t> sorted_places(Interpreter& with, const Values& keys, bool reverse) {
  std::vector<size_t> places(keys.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  std::ranges::stable_sort(places, [&](size_t a, size_t b) {
    const int sign = order(with.budget, keys[a], keys[b]);
    return reverse ? sign > 0 : sign < 0;
  });
  return places;
}

Value picked(Interpreter& with, const Values& items, const std::vector<size_t>& places) {
  Values result;
  for (const size_t place : places) result.push_back(items[place]);
  return make_list(with.budget, std::move(result));
}

/// What map and select walk: nothing of any value that is false.
Values iterate_if_true(Interpreter& with, const Value& value) {
  return truth(value) ? iterate(with.budget, value) : Values{};
}

Value filter_list(Interpreter& with, const Value& self, const Bound&) {
  return make_list(with.budget, iterate(with.budget, self));
}

Value filter_first(Interpreter& with, const Value& self, const Bound&) {
  const Values items = iterate(with.budget, self);
  return items.empty() ? Value(Undefined{"the first item of nothing"}) : items.front();
}

Value filter_last(Interpreter& with, const Value& self, const Bound&) {
  if (truth(self)) length(with.budget, self);  // refuses a generator
  const Values items = iterate(with.budget, self);
  return items.empty() ? Value(Undefined{"the last item of nothing"}) : items.back();
}

Value filter_reverse(Interpreter& with, const Value& self, const Bound&) {
  length(with.budget, self);  // refuses a generator
  Values items = iterate(with.budget, self);
  std::ranges::reverse(items);
  if (!is<Text>(self)) return generator(with, std::move(items));
  std::string text;
  for (const Value& item : items) text += text_of(item);
  return make_text(with.budget, std::move(text));
}

Value filter_join(Interpreter& with, const Value& self, const Bound& given) {
  const std::string between = given.has(0) ? to_string(with.budget, given[0]) : "";
  std::string text;
  bool first = true;
  for (const Value& item : keys_of(with, iterate(with.budget, self), given[1], false)) {
    with.budget.charge(1 + between.size());
    if (!first) text += between;
    text += to_string(with.budget, item);
    first = false;
  }
  return make_text(with.budget, std::move(text));
}

Value filter_items(Interpreter& with, const Value& self, const Bound&) {
  if (is<Undefined>(self)) return generator(with, {});
  const auto* dict = std::get_if<DictPtr>(&self);
  if (dict == nullptr) refuse("the items of a {}", type_name(self));
  Values items;
  for (const auto& [key, value] : (*dict)->items)
    items.push_back(make_list(with.budget, {key, value}, Sequence::tuple));
  return generator(with, std::move(items));
}

Value filter_dictsort(Interpreter& with, const Value& self, const Bound& given) {
  if (!is<DictPtr>(self)) refuse("a {} is no dict to sort", type_name(self));
  const Values items = iterate(with.budget, filter_items(with, self, {}));
  const bool by_value = given.has(1) && text_of(given[1]) == "value";
  if (given.has(1) && !by_value && text_of(given[1]) != "key") refuse("dictsort is by 'key' or 'value'");
  const Values keys = keys_of(with, items, int64_t{by_value}, !truth(given[0]));
  return picked(with, items, sorted_places(with, keys, truth(given[2])));
}

Value filter_sort(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, self);
  const Values keys = keys_of(with, items, given[2], !truth(given[1]));
  return picked(with, items, sorted_places(with, keys, truth(given[0])));
}

Value filter_unique(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, self);
  const Values keys = keys_of(with, items, given[1], !truth(given[0]));
  Values seen, result;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto is_same = [&](const Value& key) { return equal(with.budget, key, keys[i]); };
    if (std::ranges::any_of(seen, is_same)) continue;
    seen.push_back(keys[i]);
    result.push_back(items[i]);
  }
  return generator(with, std::move(result));
}

/// The first of those that are least (sign -1) or most (1).
template <int sign>
Value filter_extreme(Interpreter& with, const Value& self, const Bound& given) {
  const Values items = iterate(with.budget, self);
  if (items.empty()) return Undefined{"the extreme item of nothing"};
  const Values keys = keys_of(with, items, given[1], !truth(given[0]));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    if (order(with.budget, keys[i], keys[best]) * sign > 0) best = i;
  }
  return items[best];
}

Value filter_sum(Interpreter& with, const Value& self, const Bound& given) {
  Value sum = given.has(1) ? given[1] : Value(int64_t{0});
  for (const Value& item : keys_of(with, iterate(with.budget, self), given[0], false))
    sum = arithmetic(with.budget, "+", sum, item);
  return sum;
}

Value filter_map(Interpreter& with, const Value& self, const Bound& given) {
  Arguments rest = given.all;
  Value path, otherwise, name;
  if (rest.values.empty()) {
    for (auto& [key, value] : rest.named) {
      if (key != "attribute" && key != "default") refuse("the filter 'map' has no parameter '{}'", key);
      (key == "attribute" ? path : otherwise) = value;
    }
    if (is<Undefined>(path)) refuse("the filter 'map' needs an attribute or a filter");
  } else {
    name = rest.values[0];
    rest.values.erase(rest.values.begin());
  }
  Values items = iterate_if_true(with, self);
  for (Value& item : items) {
    item = is<Undefined>(name) ? at_path(with.budget, item, path)
                               : with.apply(find_filter(text_of(name)), "filter", text_of(name), item, rest);
    if (is<Undefined>(item) && !is<Undefined>(otherwise) && !is<None>(otherwise)) item = otherwise;
  }
  return generator(with, std::move(items));
}

/// select, reject, selectattr, rejectattr: of items or of an attribute of each, by a test or by their truth.
template <bool keeps, bool of_attribute>
Value filter_select(Interpreter& with, const Value& self, const Bound& given) {
  Arguments rest = given.all;
  const auto take = [&]() -> Value {
    if (rest.values.empty()) return Undefined{};
    const Value value = rest.values.front();
    rest.values.erase(rest.values.begin());
    return value;
  };
  const Value path = of_attribute ? take() : Value(Undefined{});
  if (of_attribute && is<Undefined>(path)) refuse("the filter needs an attribute");
  const Value name = take();
  Values items = iterate_if_true(with, self);
  std::erase_if(items, [&](const Value& item) {
    const Value subject = of_attribute ? at_path(with.budget, item, path) : item;
    const Value holds = is<Undefined>(name)
                            ? subject
                            : with.apply(find_test(text_of(name)), "test", text_of(name), subject, rest);
    return truth(holds) != keeps;
  });
  return generator(with, std::move(items));
}

constexpr std::array kListFilters{
    Builtin{"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
    Builtin{"first", "", 0, filter_first},
    Builtin{"items", "", 0, filter_items},
    Builtin{"join", "d attribute", 0, filter_join},
    Builtin{"last", "", 0, filter_last},
    Builtin{"list", "", 0, filter_list},
    Builtin{"map", "*", 0, filter_map},
    Builtin{"max", "case_sensitive attribute", 0, filter_extreme<1>},
    Builtin{"min", "case_sensitive attribute", 0, filter_extreme<-1>},
    Builtin{"reject", "*", 0, filter_select<false, false>},
    Builtin{"rejectattr", "*", 0, filter_select<false, true>},
    Builtin{"reverse", "", 0, filter_reverse},
    Builtin{"select", "*", 0, filter_select<true, false>},
    Builtin{"selectattr", "*", 0, filter_select<true, true>},
    Builtin{"sort", "reverse case_sensitive attribute", 0, filter_sort},
    Builtin{"sum", "attribute start", 0, filter_sum},
    Builtin{"unique", "case_sensitive attribute", 0, filter_unique},
};

}  // namespace

const Builtin* find_list_filter(std::string_view name) { return find_in(kListFilters, name); }

}  // namespace greta::jinja
