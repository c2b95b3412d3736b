#include "jinja/interpreter.h"

#include <algorithm>

namespace greta::jinja {
std::string Interpreter::render(const Body& body) {
  Scope root{&globals_};
  std::string out;
  run(body, root, out);
  return out;
}

void Interpreter::append(std::string& out, std::string_view text) {
  budget.charge(text.size());
  out += text;
}

Interpreter::Flow Interpreter::run(const Body& body, Scope& scope, std::string& out) {
  for (const Statement& statement : body) {
    const Flow flow = run(statement, scope, out);
    if (flow != Flow::on) return flow;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run(const Statement& statement, Scope& scope, std::string& out) {
  using enum Statement::Kind;
  const Deeper deeper(*this, statement.line);
  switch (statement.kind) {
    case data: append(out, statement.text); break;
    case print: append(out, to_string(budget, evaluate(*statement.expression, scope))); break;
    case choice: return run_choice(statement, scope, out);
    case loop: return run_loop(statement, scope, out);
    case block: return run_block(statement, scope, out);
    case assign: run_assign(statement, scope); break;
    case capture: scope.names[statement.names[0]] = captured(statement, scope); break;
    case filtered: append(out, to_string(budget, captured(statement, scope))); break;
    case macro: scope.names[statement.text] = std::make_shared<const Macro>(Macro{&statement, &scope}); break;
    case leave_loop: return Flow::leave_loop;
    case next_turn: return Flow::next_turn;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run_choice(const Statement& statement, Scope& scope, std::string& out) {
  for (const Branch& branch : statement.branches) {
    if (!branch.condition || truth(evaluate(*branch.condition, scope))) return run(branch.body, scope, out);
  }
  return Flow::on;
}

namespace {

void assign(Budget& budget, const Statement& statement, const Value& value, Scope& scope) {
  if (!statement.unpacks) {
    scope.names[statement.names[0]] = value;
    return;
  }
  const Values items = iterate(budget, value);
  if (items.size() != statement.names.size())
    refuse("{} values for {} names", items.size(), statement.names.size());
  for (size_t i = 0; i < items.size(); ++i) scope.names[statement.names[i]] = items[i];
}

}  // namespace

Interpreter::Flow Interpreter::run_loop(const Statement& statement, Scope& scope, std::string& out) {
  Values items = iterate(budget, evaluate(*statement.expression, scope));
  if (statement.condition) {
    std::erase_if(items, [&](const Value& item) {
      Scope one{&scope};
      assign(budget, statement, item, one);
      return !truth(evaluate(*statement.condition, one));
    });
  }
  Loop loop{&items, 0};
  for (; loop.at < items.size(); ++loop.at) {
    budget.charge(1);
    Scope turn{&scope};  // what is set in a turn ends with it
    turn.names["loop"] = &std::as_const(loop);
    assign(budget, statement, items[loop.at], turn);
    if (run(statement.branches[0].body, turn, out) == Flow::leave_loop) break;
  }
  if (!items.empty() || statement.branches.size() < 2) return Flow::on;
  Scope otherwise{&scope};
  return run(statement.branches[1].body, otherwise, out);
}

Interpreter::Flow Interpreter::run_block(const Statement& statement, Scope& scope, std::string& out) {
  Scope inner{&scope};
  for (size_t i = 0; i < statement.names.size(); ++i)
    inner.names[statement.names[i]] = evaluate(*statement.values[i], scope);
  return run(statement.branches[0].body, inner, out);
}

void Interpreter::run_assign(const Statement& statement, Scope& scope) {
  const Value value = evaluate(*statement.expression, scope);
  if (statement.text.empty()) return assign(budget, statement, value, scope);
  const Value target = look_up(statement.text, scope);
  const auto* space = std::get_if<std::shared_ptr<Namespace>>(&target);
  if (space == nullptr) refuse("'{}' is a {}, not a namespace", statement.text, type_name(target));
  check_can_be_held(value);
  (*space)->items[statement.names[0]] = value;
}

Value Interpreter::captured(const Statement& statement, Scope& scope) {
  Scope inner{&scope};
  std::string out;
  run(statement.branches[0].body, inner, out);
  return filtered(statement.expression.get(), make_text(budget, std::move(out)), scope);
}

/// A chain of filters, whose innermost one has no value of its own.
Value Interpreter::filtered(const Expression* filter, Value value, Scope& scope) {
  if (filter == nullptr) return value;
  const Deeper deeper(*this, filter->line);
  Value inner = filtered(filter->parts[0].get(), std::move(value), scope);
  return apply(find_filter(filter->name), "filter", filter->name, inner, arguments_of(*filter, scope));
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const Statement& definition = *macro.definition;
  if (arguments.values.size() > definition.names.size())
    refuse("the macro {} takes {} arguments, not {}", definition.text, definition.names.size(),
           arguments.values.size());
  Scope scope{macro.scope};
  for (size_t i = 0; i < arguments.values.size(); ++i) scope.names[definition.names[i]] = arguments.values[i];
  for (auto& [name, value] : arguments.named) {
    if (std::ranges::find(definition.names, name) == definition.names.end() || scope.names.contains(name))
      refuse("the macro {} has no parameter '{}' left", definition.text, name);
    scope.names[name] = std::move(value);
  }
  for (size_t i = 0; i < definition.names.size(); ++i) {
    const std::string& name = definition.names[i];
    if (scope.names.contains(name)) continue;
    Value value = definition.values[i] ? evaluate(*definition.values[i], scope) : Undefined{name};
    scope.names[name] = std::move(value);
  }
  std::string out;
  run(definition.branches[0].body, scope, out);
  return make_text(budget, std::move(out));
}

Value Interpreter::look_up(const std::string& name, const Scope& scope) const {
  for (const Scope* one = &scope; one != nullptr; one = one->parent) {
    const auto found = one->names.find(name);
    if (found != one->names.end()) return found->second;
  }
  if (const Function* function = find_function(name)) return function;
  return Undefined{name};
}

}  // namespace greta::jinja
