#pragma once
// The values of a template: Python's, as far as chat templates use them. What Python would do and this does
// not know exactly is refused, never guessed.

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace greta::jinja {

/// Why a template is not rendered; render() adds where.
class Refusal : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Refusal(fmt::format(format, std::forward<Args>(args)...));
}

/// What a rendering may still cost, in steps and bytes together: a template is a stranger's program.
struct Budget {
  static constexpr uint64_t kItem = 64;  // of a list, in bytes
  uint64_t left;
  void charge(uint64_t cost) {
    if (cost > left) refuse("it takes more steps than a chat template may");
    left -= cost;
  }
};

struct Undefined {
  std::string name;  // for messages
};
struct None {};

/// A str, of well-formed UTF-8. What the filter safe has marked can be printed and joined by ~; Python would
/// escape its neighbours in a sum.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool marked = false;
  std::string_view view() const { return *bytes; }
};

struct List;
struct Dict;
struct Namespace;
struct Loop;      // of the for statement that is running
struct Macro;     // of the scope that defines it
struct Function;  // a global one

using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using Value =
    std::variant<Undefined, None, bool, int64_t, double, Text, ListPtr, DictPtr, std::shared_ptr<Namespace>,
                 const Loop*, std::shared_ptr<const Macro>, const Function*>;
using Values = std::vector<Value>;

enum class Sequence { list, tuple, view, range, generator };

struct List {
  Sequence kind;
  Values items;
  int depth;                  // of nested containers
  mutable bool used = false;  // a generator can be walked once
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in the order of insertion
  int depth;
};

struct Namespace {
  std::map<std::string, Value, std::less<>> items;
};

template <class T>
bool is(const Value& value) {
  return std::holds_alternative<T>(value);
}

Value make_text(Budget& budget, std::string text);
Value make_text(Budget& budget, std::string_view text);

/// Containers hold no namespaces, loops and macros (so that nothing holds itself or outlives its scope), and
/// are nested 64 deep at most.
Value make_list(Budget& budget, Values items, Sequence kind = Sequence::list);
/// Later values of the same key stand in the place of the first.
Value make_dict(Budget& budget, std::vector<std::pair<Value, Value>> items);
/// Refuses what a container can't hold.
void check_can_be_held(const Value& value);

/// Python's name of the type: "str", "list", ...
std::string_view type_name(const Value& value);

bool truth(const Value& value);
bool equal(Budget& budget, const Value& a, const Value& b);
/// Below 0, 0, above 0; refuses what Python can't order.
int order(Budget& budget, const Value& a, const Value& b);
/// a in b.
bool contains(Budget& budget, const Value& container, const Value& item);
/// nullptr where there is none.
const Value* find(Budget& budget, const Dict& dict, const Value& key);

/// What a for statement walks: the characters of a str, the keys of a dict; nothing of an undefined value.
Values iterate(Budget& budget, const Value& value);
/// len().
size_t length(Budget& budget, const Value& value);

/// str() and repr().
std::string to_string(Budget& budget, const Value& value);
std::string representation(Budget& budget, const Value& value);
/// repr() of a float.
std::string float_text(double number);

/// The value as what it must be, or a refusal that says what it is.
std::string_view text_of(const Value& value);
int64_t integer_of(const Value& value);
/// A bool counts as a number.
bool is_integer(const Value& value);
bool is_number(const Value& value);
double real_of(const Value& value);

}  // namespace greta::jinja
