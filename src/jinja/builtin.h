#pragma once
// What templates call by name: filters, tests, methods and global functions, a table each.

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "jinja/value.h"

namespace greta::jinja {

/// Of a call, as written.
struct Arguments {
  Values values;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;

/// Of a call to something of a table: a value for each of its parameters, undefined where left out.
struct Bound {
  Values values;
  Arguments all;
  const Value& operator[](size_t i) const { return values[i]; }
  bool has(size_t i) const { return !is<Undefined>(values[i]); }
  /// has(i) and not None.
  bool sets(size_t i) const { return has(i) && !is<None>(values[i]); }
};

/// self: what the filter or test is put to, or whose method it is.
using Call = Value (*)(Interpreter& with, const Value& self, const Bound& given);

struct Builtin {
  std::string_view name;
  std::string_view parameters;  // words; "*" alone: any arguments
  size_t required;
  Call call;
};

struct Function : Builtin {};

/// nullptr where the table has none of that name.
template <class Table>
auto find_in(const Table& table, std::string_view name) -> decltype(table.data()) {
  const auto* found = std::ranges::find_if(table, [&](const auto& row) { return row.name == name; });
  return found == table.end() ? nullptr : found;
}
const Builtin* find_filter(std::string_view name);
const Builtin* find_list_filter(std::string_view name);  // a part of them
const Builtin* find_test(std::string_view name);
const Builtin* find_text_method(std::string_view name);
const Builtin* find_list_method(std::string_view name);
const Builtin* find_dict_method(std::string_view name);
const Function* find_function(std::string_view name);

/// Puts the arguments in their places; refuses too many, too few and unknown ones. `what`: "the filter trim".
Bound bound(const Builtin& builtin, Arguments arguments, std::string_view what);

/// The value without its last step to a table: what `x.name` is, an undefined value where it has none.
Value attribute_of(Budget& budget, const Value& value, std::string_view name);
/// x[key].
Value item_of(Budget& budget, const Value& value, const Value& key);
/// x['a'], or with dots and numbers a way through several: of the parameter `attribute` of filters.
Value at_path(Budget& budget, const Value& value, const Value& path);

/// strftime() on the day that it always is here, so that a prompt stays the same: 26 July 2024, 0:00.
std::string date_text(std::string_view format);

/// json.dumps().
struct JsonStyle {
  bool ascii = false, sorted = false;
  std::optional<std::string> indent = {};  // of a level
  std::string comma = ", ", colon = ": ";
};
std::string to_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace greta::jinja
