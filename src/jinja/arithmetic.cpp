#include "jinja/arithmetic.h"

#include <algorithm>
#include <cmath>

#include "jinja/python_text.h"

namespace greta::jinja {
namespace {

[[noreturn]] void refuse_operands(std::string_view symbol, const Value& left, const Value& right) {
  refuse("a {} {} a {} is not supported", type_name(left), symbol, type_name(right));
}

void check(bool overflows) {
  if (overflows) refuse("an int beyond 64 bits is not supported");
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (base == 0 || base == 1) return base;
    if (base == -1) return exponent % 2 == 0 ? result : -result;
    check(__builtin_mul_overflow(result, base, &result));
  }
  return result;
}

/// Rounded down, as Python does.
int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == -1) {
    check(__builtin_sub_overflow(int64_t{0}, a, &a));
    return a;
  }
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}

Value of_integers(std::string_view symbol, int64_t a, int64_t b) {
  int64_t result = 0;
  if (symbol == "+" || symbol == "-" || symbol == "*") {
    check(symbol == "+"   ? __builtin_add_overflow(a, b, &result)
          : symbol == "-" ? __builtin_sub_overflow(a, b, &result)
                          : __builtin_mul_overflow(a, b, &result));
    return result;
  }
  if (symbol == "**") {
    if (b < 0) refuse("a negative power is not supported");
    return power(a, b);
  }
  if (b == 0) refuse("a division by zero");
  if (symbol == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (symbol == "//") return floor_quotient(a, b);
  return b == -1 ? int64_t{0} : a - floor_quotient(a, b) * b;
}

Value of_reals(std::string_view symbol, double a, double b) {
  if (symbol == "+") return a + b;
  if (symbol == "-") return a - b;
  if (symbol == "*") return a * b;
  if (symbol != "/") refuse("{} of floats is not supported", symbol);
  if (b == 0) refuse("a division by zero");
  return a / b;
}

Value sum_of_lists(Budget& budget, const List& a, const List& b) {
  Values items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_list(budget, std::move(items), a.kind);
}

bool is_plain(const List& list) { return list.kind == Sequence::list || list.kind == Sequence::tuple; }

Value repeated(Budget& budget, const Value& what, int64_t times) {
  const auto n = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  const auto pays = [&](size_t size) {
    if (size > 0 && n > budget.left / size) budget.charge(budget.left + 1);
    budget.charge(n * size);
  };
  if (const auto* list = std::get_if<ListPtr>(&what)) {
    if (!is_plain(**list)) refuse("a repeated {} is not supported", type_name(what));
    pays(Budget::kItem * (*list)->items.size());
    Values items;
    for (uint64_t i = 0; i < n; ++i) items.insert(items.end(), (*list)->items.begin(), (*list)->items.end());
    return make_list(budget, std::move(items), (*list)->kind);
  }
  const auto text = text_of(what);
  pays(text.size());
  std::string result;
  for (uint64_t i = 0; i < n && !text.empty(); ++i) result += text;
  return make_text(budget, std::move(result));
}

/// The places that a slice takes of `size`, as Python's slice.indices().
std::vector<size_t> places(int64_t size, const Value& start, const Value& stop, const Value& step_value) {
  const int64_t step = is<None>(step_value) ? 1 : integer_of(step_value);
  if (step == 0) refuse("a slice with step 0");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (is<None>(value)) return otherwise;
    const int64_t place = integer_of(value);
    return std::clamp(place < 0 ? place + size : place, lowest, highest);
  };
  const int64_t from = bound(start, step > 0 ? lowest : highest),
                to = bound(stop, step > 0 ? highest : lowest);
  std::vector<size_t> result;
  for (int64_t i = from; step > 0 ? i < to : i > to;) {
    result.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return result;
}

}  // namespace

Value arithmetic(Budget& budget, std::string_view symbol, const Value& left, const Value& right) {
  if (is_integer(left) && is_integer(right)) return of_integers(symbol, integer_of(left), integer_of(right));
  if (is_number(left) && is_number(right)) return of_reals(symbol, real_of(left), real_of(right));
  if (symbol == "*" && is_integer(right)) return repeated(budget, left, integer_of(right));
  if (symbol == "*" && is_integer(left)) return repeated(budget, right, integer_of(left));
  if (symbol != "+") refuse_operands(symbol, left, right);
  if (is<Text>(left) && is<Text>(right)) {
    const auto a = text_of(left), b = text_of(right);
    return make_text(budget, std::string(a).append(b));
  }
  if (is<ListPtr>(left) && is<ListPtr>(right)) {
    const List &a = *std::get<ListPtr>(left), &b = *std::get<ListPtr>(right);
    if (a.kind == b.kind && is_plain(a)) return sum_of_lists(budget, a, b);
  }
  refuse_operands(symbol, left, right);
}

Value negation(std::string_view symbol, const Value& value) {
  if (symbol == "not") return !truth(value);
  const bool minus = symbol == "-";
  if (const auto* real = std::get_if<double>(&value)) return minus ? -*real : *real;
  const int64_t number = integer_of(value);
  return minus ? of_integers("-", 0, number) : Value(number);
}

Value slice(Budget& budget, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (is<Text>(value)) {
    const auto text = text_of(value);
    budget.charge(text.size());
    const auto all = characters(text);
    std::string result;
    for (const size_t i : places(std::ssize(all), start, stop, step)) result += all[i];
    return make_text(budget, std::move(result));
  }
  const auto* list = std::get_if<ListPtr>(&value);
  if (list == nullptr || (!is_plain(**list) && (*list)->kind != Sequence::range))
    refuse("a slice of a {} is not supported", type_name(value));
  const Values& items = (*list)->items;
  Values taken;
  for (const size_t i : places(std::ssize(items), start, stop, step)) taken.push_back(items[i]);
  return make_list(budget, std::move(taken), (*list)->kind);
}

}  // namespace greta::jinja
