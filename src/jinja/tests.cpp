// What stands behind `is`.

#include <algorithm>
#include <array>

#include "jinja/interpreter.h"

namespace greta::jinja {
namespace {

template <class T>
Value test_is(Interpreter&, const Value& self, const Bound&) {
  return is<T>(self);
}

Value test_defined(Interpreter&, const Value& self, const Bound&) { return !is<Undefined>(self); }
Value test_integer(Interpreter&, const Value& self, const Bound&) { return is<int64_t>(self); }
Value test_number(Interpreter&, const Value& self, const Bound&) { return is_number(self); }

template <bool wanted>
Value test_flag(Interpreter&, const Value& self, const Bound&) {
  const auto* flag = std::get_if<bool>(&self);
  return flag != nullptr && *flag == wanted;
}

bool is_walked(const Value& value) {
  return is<Text>(value) || is<ListPtr>(value) || is<DictPtr>(value) || is<Undefined>(value);
}

Value test_iterable(Interpreter&, const Value& self, const Bound&) { return is_walked(self); }

/// Has a length and indices.
Value test_sequence(Interpreter&, const Value& self, const Bound&) {
  const auto* list = std::get_if<ListPtr>(&self);
  if (list == nullptr) return is_walked(self);
  return (*list)->kind != Sequence::view && (*list)->kind != Sequence::generator;
}

template <int remainder>
Value test_remainder(Interpreter&, const Value& self, const Bound&) {
  return (integer_of(self) % 2 != 0) == (remainder == 1);
}

Value test_divisible(Interpreter&, const Value& self, const Bound& given) {
  const int64_t by = integer_of(given[0]);
  if (by == 0) refuse("a division by zero");
  return by == -1 || integer_of(self) % by == 0;
}

Value test_equal(Interpreter& with, const Value& self, const Bound& given) {
  return equal(with.budget, self, given[0]);
}
Value test_unequal(Interpreter& with, const Value& self, const Bound& given) {
  return !equal(with.budget, self, given[0]);
}
Value test_less(Interpreter& with, const Value& self, const Bound& given) {
  return order(with.budget, self, given[0]) < 0;
}
Value test_less_or_equal(Interpreter& with, const Value& self, const Bound& given) {
  return order(with.budget, self, given[0]) <= 0;
}
Value test_greater(Interpreter& with, const Value& self, const Bound& given) {
  return order(with.budget, self, given[0]) > 0;
}
Value test_greater_or_equal(Interpreter& with, const Value& self, const Bound& given) {
  return order(with.budget, self, given[0]) >= 0;
}

Value test_in(Interpreter& with, const Value& self, const Bound& given) {
  return contains(with.budget, given[0], self);
}

/// Identity, where values have one.
Value test_same(Interpreter&, const Value& self, const Bound& given) {
  const auto is_single = [](const Value& value) { return is<bool>(value) || is<None>(value); };
  if (!is_single(self) && !is_single(given[0])) refuse("'sameas' is supported of true, false and none");
  if (self.index() != given[0].index()) return false;
  return is<None>(self) || std::get<bool>(self) == std::get<bool>(given[0]);
}

constexpr std::array kTests{
    Builtin{"defined", "", 0, test_defined},
    Builtin{"undefined", "", 0, test_is<Undefined>},
    Builtin{"none", "", 0, test_is<None>},
    Builtin{"boolean", "", 0, test_is<bool>},
    Builtin{"true", "", 0, test_flag<true>},
    Builtin{"false", "", 0, test_flag<false>},
    Builtin{"integer", "", 0, test_integer},
    Builtin{"float", "", 0, test_is<double>},
    Builtin{"number", "", 0, test_number},
    Builtin{"string", "", 0, test_is<Text>},
    Builtin{"mapping", "", 0, test_is<DictPtr>},
    Builtin{"iterable", "", 0, test_iterable},
    Builtin{"sequence", "", 0, test_sequence},
    Builtin{"odd", "", 0, test_remainder<1>},
    Builtin{"even", "", 0, test_remainder<0>},
    Builtin{"divisibleby", "num", 1, test_divisible},
    Builtin{"in", "seq", 0, test_in},
    Builtin{"sameas", "other", 0, test_same},
    Builtin{"eq", "other", 0, test_equal},
    Builtin{"equalto", "other", 0, test_equal},
    Builtin{"==", "other", 0, test_equal},
    Builtin{"ne", "other", 0, test_unequal},
    Builtin{"!=", "other", 0, test_unequal},
    Builtin{"lt", "other", 1, test_less},
    Builtin{"lessthan", "other", 1, test_less},
    Builtin{"<", "other", 1, test_less},
    Builtin{"le", "other", 1, test_less_or_equal},
    Builtin{"<=", "other", 1, test_less_or_equal},
    Builtin{"gt", "other", 1, test_greater},
    Builtin{"greaterthan", "other", 1, test_greater},
    Builtin{">", "other", 1, test_greater},
    Builtin{"ge", "other", 1, test_greater_or_equal},
    Builtin{">=", "other", 1, test_greater_or_equal},
};

}  // namespace

const Builtin* find_test(std::string_view name) { return find_in(kTests, name); }

}  // namespace greta::jinja
