// The expressions of a template.

#include "jinja/arithmetic.h"
#include "jinja/interpreter.h"

namespace greta::jinja {
namespace {

bool holds(Budget& budget, std::string_view symbol, const Value& left, const Value& right) {
  if (symbol == "==") return equal(budget, left, right);
  if (symbol == "!=") return !equal(budget, left, right);
  if (symbol == "in") return contains(budget, right, left);
  if (symbol == "not in") return !contains(budget, right, left);
  const int sign = order(budget, left, right);
  if (symbol == "<") return sign < 0;
  if (symbol == "<=") return sign <= 0;
  return symbol == ">" ? sign > 0 : sign >= 0;
}

std::string shown(const Value& undefined) {
  const std::string& name = std::get<Undefined>(undefined).name;
  return name.empty() ? "a value" : fmt::format("'{}'", name);
}

/// The row of the method `name` of the value, or nullptr where the value has none and may have an item so
/// called.
const Builtin* method_of(const Value& value, std::string_view name) {
  if (is<DictPtr>(value)) return find_dict_method(name);
  if (is<std::shared_ptr<Namespace>>(value)) return nullptr;
  const Builtin* method = is<Text>(value)      ? find_text_method(name)
                          : is<ListPtr>(value) ? find_list_method(name)
                                               : nullptr;
  if (is<Undefined>(value)) refuse("{} is undefined", shown(value));
  if (method == nullptr) refuse("the method '{}' of a {} is not supported", name, type_name(value));
  return method;
}

}  // namespace

Values Interpreter::evaluate_parts(const Expression& expression, Scope& scope) {
  Values values;
  for (const ExpressionPtr& part : expression.parts) values.push_back(evaluate(*part, scope));
  return values;
}

Value Interpreter::evaluate_dict(const Expression& expression, Scope& scope) {
  Values parts = evaluate_parts(expression, scope);
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i < parts.size(); i += 2)
    items.emplace_back(std::move(parts[i]), std::move(parts[i + 1]));
  return make_dict(budget, std::move(items));
}

Value Interpreter::evaluate_concat(const Expression& expression, Scope& scope) {
  std::string text;
  for (const Value& part : evaluate_parts(expression, scope)) text += to_string(budget, part);
  return make_text(budget, std::move(text));
}

Value Interpreter::evaluate_slice(const Expression& expression, Scope& scope) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i)
    parts[i] = expression.parts[i] ? evaluate(*expression.parts[i], scope) : Value(None{});
  return slice(budget, parts[0], parts[1], parts[2], parts[3]);
}

/// a < b < c as Python: each operand once, up to the first that does not hold.
Value Interpreter::evaluate_compare(const Expression& expression, Scope& scope) {
  Value left = evaluate(*expression.parts[0], scope);
  for (size_t i = 0; i < expression.names.size(); ++i) {
    Value right = evaluate(*expression.parts[i + 1], scope);
    if (!holds(budget, expression.names[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Arguments Interpreter::arguments_of(const Expression& call, Scope& scope) {
  Arguments arguments;
  for (size_t i = 1; i < call.parts.size(); ++i) arguments.values.push_back(evaluate(*call.parts[i], scope));
  for (const auto& [name, value] : call.named) arguments.named.emplace_back(name, evaluate(*value, scope));
  return arguments;
}

Value Interpreter::apply(const Builtin* builtin, std::string_view kind, std::string_view name,
                         const Value& self, Arguments arguments) {
  if (builtin == nullptr) refuse("the {} '{}' is not supported", kind, name);
  if (const auto* text = std::get_if<Text>(&self)) budget.charge(text->bytes->size());
  return builtin->call(*this, self,
                       bound(*builtin, std::move(arguments), fmt::format("{} '{}'", kind, name)));
}

Value Interpreter::evaluate_call(const Expression& expression, Scope& scope) {
  const Expression& callee = *expression.parts[0];
  Value function;
  if (callee.kind == Expression::Kind::attribute) {
    const Value self = evaluate(*callee.parts[0], scope);
    if (const Builtin* method = method_of(self, callee.name))
      return apply(method, "method", callee.name, self, arguments_of(expression, scope));
    function = attribute_of(budget, self, callee.name);
  } else {
    function = evaluate(callee, scope);
  }
  Arguments arguments = arguments_of(expression, scope);
  if (const auto* macro = std::get_if<std::shared_ptr<const Macro>>(&function))
    return call_macro(**macro, std::move(arguments));
  if (const auto* global = std::get_if<const Function*>(&function))
    return apply(*global, "function", (*global)->name, Undefined{}, std::move(arguments));
  if (is<Undefined>(function)) refuse("{} is undefined", shown(function));
  refuse("a {} can't be called", type_name(function));
}

Value Interpreter::evaluate(const Expression& expression, Scope& scope) {
  using enum Expression::Kind;
  const Deeper deeper(*this, expression.line);
  const auto part = [&](size_t i) { return evaluate(*expression.parts[i], scope); };
  switch (expression.kind) {
    case constant: return expression.value;
    case name: return look_up(expression.name, scope);
    case list: return make_list(budget, evaluate_parts(expression, scope));
    case tuple: return make_list(budget, evaluate_parts(expression, scope), Sequence::tuple);
    case dict: return evaluate_dict(expression, scope);
    case attribute: return attribute_of(budget, part(0), expression.name);
    case item: {
      const Value value = part(0);
      return item_of(budget, value, part(1));
    }
    case Expression::Kind::slice: return evaluate_slice(expression, scope);
    case call: return evaluate_call(expression, scope);
    case filter: {
      const Value value = part(0);
      return apply(find_filter(expression.name), "filter", expression.name, value,
                   arguments_of(expression, scope));
    }
    case test: {
      const Value value = part(0);
      return apply(find_test(expression.name), "test", expression.name, value,
                   arguments_of(expression, scope));
    }
    case Expression::Kind::negation: return jinja::negation(expression.name, part(0));
    case both: {
      Value left = part(0);
      return truth(left) ? part(1) : left;
    }
    case either: {
      Value left = part(0);
      return truth(left) ? left : part(1);
    }
    case compare: return evaluate_compare(expression, scope);
    case concat: return evaluate_concat(expression, scope);
    case Expression::Kind::arithmetic: {
      const Value left = part(0);
      return jinja::arithmetic(budget, expression.name, left, part(1));
    }
    case conditional:
      if (truth(part(0))) return part(1);
      return expression.parts[2] ? part(2) : Value(Undefined{});
  }
  return Undefined{};
}

}  // namespace greta::jinja
