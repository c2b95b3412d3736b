#include "jinja/template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"

namespace greta::jinja {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongest = 1 << 20;      // of a template's text
constexpr uint64_t kBudget = 64 << 20;    // a real template needs a hundredth
constexpr uint64_t kBudgetPerByte = 256;  // of the variables

Value value_of(Budget& budget, const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean: return json.get<bool>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return json.get<int64_t>();
    case Json::value_t::number_float: return json.get<double>();
    case Json::value_t::string:
      return make_text(budget, std::string_view(json.get_ref<const std::string&>()));
    case Json::value_t::array: {
      Values items;
      for (const Json& item : json) items.push_back(value_of(budget, item));
      return make_list(budget, std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<Value, Value>> items;
      for (const auto& [key, item] : json.items())
        items.emplace_back(make_text(budget, std::string_view(key)), value_of(budget, item));
      return make_dict(budget, std::move(items));
    }
    default: return None{};
  }
}

uint64_t text_size(const Json& json) {
  if (json.is_string()) return json.get_ref<const std::string&>().size();
  uint64_t size = 0;
  if (json.is_structured()) {
    for (const Json& item : json) size += text_size(item);
  }
  return size;
}

}  // namespace

std::string render(std::string_view text, std::string_view label, const Json& variables) {
  if (text.size() > kLongest)
    fail_input("{}: {} bytes: a template has at most {}", label, text.size(), kLongest);
  if (utf8_valid_prefix(text) != text.size()) fail_input("{}: not a UTF-8 text", label);
  Budget budget{kBudget + kBudgetPerByte * text_size(variables)};
  Scope globals{nullptr};
  for (const auto& [name, value] : variables.items()) globals.names[name] = value_of(budget, value);
  Interpreter interpreter(budget, globals);
  try {
    return interpreter.render(parse(text));
  } catch (const SyntaxError& error) {
    fail_input("{}, line {}: {}", label, error.line, printable(error.why));
  } catch (const Refusal& refusal) {
    fail_input("{}, line {}: {}", label, interpreter.line(), printable(refusal.what()));
  }
}

}  // namespace greta::jinja
