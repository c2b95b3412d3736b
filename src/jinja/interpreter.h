#pragma once
// Runs a template.

#include <map>
#include <string>
#include <string_view>

#include "jinja/builtin.h"
#include "jinja/syntax.h"

namespace greta::jinja {

struct Scope {
  const Scope* parent;
  std::map<std::string, Value, std::less<>> names = {};
};

struct Macro {
  const Statement* definition;
  const Scope* scope;  // where it is defined; it lives as long
};

struct Loop {
  const Values* items;
  size_t at;
};

class Interpreter {
 public:
  Interpreter(Budget given, const Scope& globals) : budget(given), globals_(globals) {}

  std::string render(const Body& body);

  /// Of what runs now.
  int line() const { return line_; }

  /// For filters that take others by name.
  Value apply(const Builtin* builtin, std::string_view kind, std::string_view name, const Value& self,
              Arguments arguments);

  Budget budget;

 private:
  enum class Flow { on, leave_loop, next_turn };

  /// A step of what runs, and how deep it is within others.
  class Deeper {
   public:
    Deeper(Interpreter& interpreter, int line) : interpreter_(interpreter) {
      constexpr int kDeepest = 400;
      constexpr uint64_t kStep = 8;  // what one costs, in bytes
      if (++interpreter.depth_ > kDeepest) refuse("it is nested deeper than {}", kDeepest);
      interpreter.line_ = line;
      interpreter.budget.charge(kStep);
    }
    ~Deeper() { --interpreter_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Interpreter& interpreter_;
  };

  Flow run(const Body& body, Scope& scope, std::string& out);
  Flow run(const Statement& statement, Scope& scope, std::string& out);
  Flow run_choice(const Statement& statement, Scope& scope, std::string& out);
  Flow run_loop(const Statement& statement, Scope& scope, std::string& out);
  Flow run_block(const Statement& statement, Scope& scope, std::string& out);
  void run_assign(const Statement& statement, Scope& scope);
  Value captured(const Statement& statement, Scope& scope);
  Value call_macro(const Macro& macro, Arguments arguments);

  Value evaluate(const Expression& expression, Scope& scope);
  Values evaluate_parts(const Expression& expression, Scope& scope);
  Value evaluate_dict(const Expression& expression, Scope& scope);
  Value evaluate_concat(const Expression& expression, Scope& scope);
  Value evaluate_slice(const Expression& expression, Scope& scope);
  Value evaluate_call(const Expression& expression, Scope& scope);
  Value evaluate_compare(const Expression& expression, Scope& scope);
  Value filtered(const Expression* filter, Value value, Scope& scope);
  Arguments arguments_of(const Expression& call, Scope& scope);
  Value look_up(const std::string& name, const Scope& scope) const;
  void append(std::string& out, std::string_view text);

  const Scope& globals_;
  int line_ = 1;
  int depth_ = 0;
};

}  // namespace greta::jinja
