#include "jinja/value.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

constexpr int kDeepestValue = 64;

int depth_of(const Value& value) {
  if (const auto* list = std::get_if<ListPtr>(&value)) return (*list)->depth;
  if (const auto* dict = std::get_if<DictPtr>(&value)) return (*dict)->depth;
  return 0;
}

int deeper(int depth) {
  if (depth >= kDeepestValue) refuse("lists are nested deeper than {}", kDeepestValue);
  return depth + 1;
}

std::string joined(Budget& budget, const Values& items, std::string_view open, std::string_view close) {
  std::string text(open);
  for (size_t i = 0; i < items.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += representation(budget, items[i]);
  }
  return text.append(close);
}

bool equal_lists(Budget& budget, const List& a, const List& b) {
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  if (a.kind == Sequence::generator || a.kind == Sequence::view) return &a == &b;
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(),
                    [&](const Value& x, const Value& y) { return equal(budget, x, y); });
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  return a.items.size() == b.items.size() && std::ranges::all_of(a.items, [&](const auto& entry) {
           const Value* other = find(budget, b, entry.first);
           return other != nullptr && equal(budget, entry.second, *other);
         });
}

/// Exactly: either fits in the 64 bits of a long double's fraction.
long double wide(const Value& value) {
  const auto* real = std::get_if<double>(&value);
  return real != nullptr ? static_cast<long double>(*real) : static_cast<long double>(integer_of(value));
}

}  // namespace

Value make_text(Budget& budget, std::string text) {
  budget.charge(1 + text.size());
  return Text{std::make_shared<const std::string>(std::move(text))};
}

Value make_text(Budget& budget, std::string_view text) { return make_text(budget, std::string(text)); }

void check_can_be_held(const Value& value) {
  if (is<std::shared_ptr<Namespace>>(value) || is<const Loop*>(value) || is<const Function*>(value) ||
      is<std::shared_ptr<const Macro>>(value))
    refuse("a {} within another value is not supported", type_name(value));
}

Value make_list(Budget& budget, Values items, Sequence kind) {
  budget.charge(1 + Budget::kItem * items.size());
  int depth = 0;
  for (const Value& item : items) {
    check_can_be_held(item);
    depth = std::max(depth, depth_of(item));
  }
  return std::make_shared<const List>(List{kind, std::move(items), deeper(depth)});
}

Value make_dict(Budget& budget, std::vector<std::pair<Value, Value>> items) {
  budget.charge(1 + Budget::kItem * items.size());
  Dict dict{{}, 0};
  for (auto& [key, value] : items) {
    check_can_be_held(value);
    if (is<ListPtr>(key) || is<DictPtr>(key) || is<Undefined>(key))
      refuse("a {} as the key of a dict is not supported", type_name(key));
    check_can_be_held(key);
    dict.depth = std::max(dict.depth, depth_of(value));
    const Value* old = find(budget, dict, key);
    if (old != nullptr)
      *const_cast<Value*>(old) = std::move(value);  // the dict is still ours
    else
      dict.items.emplace_back(std::move(key), std::move(value));
  }
  dict.depth = deeper(dict.depth);
  return std::make_shared<const Dict>(std::move(dict));
}

std::string_view type_name(const Value& value) {
  constexpr std::array<std::string_view, std::variant_size_v<Value>> kNames{
      "undefined value", "NoneType", "bool",  "int",     "float", "str", "list", "dict",
      "namespace",       "loop",     "macro", "function"};
  constexpr std::array<std::string_view, 5> kSequences{"list", "tuple", "dict view", "range", "generator"};
  if (const auto* list = std::get_if<ListPtr>(&value)) return kSequences[static_cast<size_t>((*list)->kind)];
  return kNames[value.index()];
}

bool truth(const Value& value) {
  if (is<Undefined>(value) || is<None>(value)) return false;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* number = std::get_if<int64_t>(&value)) return *number != 0;
  if (const auto* number = std::get_if<double>(&value)) return *number != 0;
  if (const auto* text = std::get_if<Text>(&value)) return !text->bytes->empty();
  if (const auto* dict = std::get_if<DictPtr>(&value)) return !(*dict)->items.empty();
  if (const auto* list = std::get_if<ListPtr>(&value))
    return (*list)->kind == Sequence::generator || !(*list)->items.empty();  // a generator is true
  return true;
}

bool is_integer(const Value& value) { return is<int64_t>(value) || is<bool>(value); }
bool is_number(const Value& value) { return is_integer(value) || is<double>(value); }

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.charge(1);
  if (is_number(a) && is_number(b)) return wide(a) == wide(b);
  if (a.index() != b.index()) return false;
  if (const auto* text = std::get_if<Text>(&a)) {
    budget.charge(text->bytes->size());
    return text->view() == std::get<Text>(b).view();
  }
  if (const auto* list = std::get_if<ListPtr>(&a)) return equal_lists(budget, **list, *std::get<ListPtr>(b));
  if (const auto* dict = std::get_if<DictPtr>(&a)) return equal_dicts(budget, **dict, *std::get<DictPtr>(b));
  if (is<None>(a) || is<Undefined>(a)) return true;
  refuse("comparing a {} is not supported", type_name(a));
}

int order(Budget& budget, const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) {
    const long double x = wide(a), y = wide(b);
    if (std::isnan(x) || std::isnan(y)) refuse("ordering NaN is not supported");
    return (x > y) - (x < y);
  }
  if (!is<Text>(a) || !is<Text>(b)) refuse("a {} and a {} have no order", type_name(a), type_name(b));
  const auto x = std::get<Text>(a).view(), y = std::get<Text>(b).view();
  budget.charge(1 + std::min(x.size(), y.size()));
  return x.compare(y);  // bytes of UTF-8 are in the order of their characters
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  if (is<Text>(container)) {
    const auto text = std::get<Text>(container).view();
    if (!is<Text>(item)) refuse("'in' a str needs a str, not a {}", type_name(item));
    budget.charge(1 + text.size());
    return text.find(std::get<Text>(item).view()) != text.npos;
  }
  if (const auto* dict = std::get_if<DictPtr>(&container)) {
    if (is<ListPtr>(item) || is<DictPtr>(item)) refuse("a {} is no key of a dict", type_name(item));
    return find(budget, **dict, item) != nullptr;
  }
  return std::ranges::any_of(iterate(budget, container),
                             [&](const Value& one) { return equal(budget, one, item); });
}

const Value* find(Budget& budget, const Dict& dict, const Value& key) {
  for (const auto& [name, value] : dict.items) {
    if (equal(budget, name, key)) return &value;
  }
  return nullptr;
}

Values iterate(Budget& budget, const Value& value) {
  if (is<Undefined>(value)) return {};
  Values items;
  if (const auto* text = std::get_if<Text>(&value)) {
    budget.charge(Budget::kItem * text->bytes->size());
    for (const auto character : characters(text->view())) items.push_back(make_text(budget, character));
  } else if (const auto* list = std::get_if<ListPtr>(&value)) {
    const bool generator = (*list)->kind == Sequence::generator;
    if (generator && (*list)->used) refuse("walking a generator again is not supported");
    (*list)->used = generator;
    budget.charge(Budget::kItem * (*list)->items.size());
    items = (*list)->items;
  } else if (const auto* dict = std::get_if<DictPtr>(&value)) {
    budget.charge(Budget::kItem * (*dict)->items.size());
    for (const auto& [key, unused] : (*dict)->items) items.push_back(key);
  } else {
    refuse("a {} can't be iterated", type_name(value));
  }
  return items;
}

size_t length(Budget& budget, const Value& value) {
  if (is<Undefined>(value)) return 0;
  if (const auto* dict = std::get_if<DictPtr>(&value)) return (*dict)->items.size();
  if (const auto* text = std::get_if<Text>(&value)) {
    budget.charge(text->bytes->size());
    return count_characters(text->view());
  }
  const auto* list = std::get_if<ListPtr>(&value);
  if (list == nullptr || (*list)->kind == Sequence::generator) refuse("a {} has no length", type_name(value));
  return (*list)->items.size();
}

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::string text =
      fmt::format("{}", number);  // the shortest that reads back, with exponents where Python has
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

std::string to_string(Budget& budget, const Value& value) {
  if (is<Undefined>(value)) return {};
  const auto* text = std::get_if<Text>(&value);
  if (text == nullptr) return representation(budget, value);
  budget.charge(text->bytes->size());
  return *text->bytes;
}

std::string representation(Budget& budget, const Value& value) {
  budget.charge(1);
  if (is<None>(value)) return "None";
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "True" : "False";
  if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&value)) return float_text(*number);
  if (const auto* text = std::get_if<Text>(&value)) {
    if (text->marked) refuse("repr() of what the filter safe has marked is not supported");
    budget.charge(text->bytes->size());
    return quoted(text->view());
  }
  if (const auto* list = std::get_if<ListPtr>(&value)) {
    const Values& items = (*list)->items;
    if ((*list)->kind == Sequence::list) return joined(budget, items, "[", "]");
    if ((*list)->kind == Sequence::tuple) return joined(budget, items, "(", items.size() == 1 ? ",)" : ")");
  }
  if (const auto* dict = std::get_if<DictPtr>(&value)) {
    std::string text = "{";
    for (const auto& [key, item] : (*dict)->items) {
      if (text.size() > 1) text += ", ";
      text += representation(budget, key) + ": ";
      text += representation(budget, item);
    }
    return text + "}";
  }
  refuse("a {} as text is not supported", type_name(value));
}

std::string_view text_of(const Value& value) {
  const auto* text = std::get_if<Text>(&value);
  if (text == nullptr) refuse("expected a str, got a {}", type_name(value));
  if (text->marked) refuse("this use of what the filter safe has marked is not supported");
  return text->view();
}

int64_t integer_of(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1 : 0;
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  refuse("expected an int, got a {}", type_name(value));
}

double real_of(const Value& value) {
  const auto* real = std::get_if<double>(&value);
  return real != nullptr ? *real : static_cast<double>(integer_of(value));
}

}  // namespace greta::jinja
