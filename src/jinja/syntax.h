#pragma once
// A template as a tree.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace greta::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    constant,     // value
    name,         // name
    list,         // parts
    tuple,        // parts
    dict,         // parts: key, value, key, value, ...
    attribute,    // parts[0].name
    item,         // parts[0][parts[1]]
    slice,        // parts[0][parts[1]:parts[2]:parts[3]], null where left out
    call,         // parts[0](parts[1], ..., named)
    filter,       // parts[0] | name(parts[1], ..., named)
    test,         // parts[0] is name(parts[1], ..., named)
    negation,     // name: "not", "-" or "+" of parts[0]
    both,         // parts[0] and parts[1]
    either,       // parts[0] or parts[1]
    compare,      // parts[0] names[0] parts[1] names[1] parts[2] ...
    concat,       // parts joined by ~
    arithmetic,   // parts[0] name parts[1]
    conditional,  // parts[1] if parts[0] else parts[2], which may be null
  };
  Kind kind;
  int line;
  std::string name = {};
  std::vector<ExpressionPtr> parts = {};
  std::vector<std::pair<std::string, ExpressionPtr>> named = {};  // arguments
  std::vector<std::string> names = {};                            // operators
  Value value = {};
};

struct Statement;
using Body = std::vector<Statement>;

struct Branch {
  ExpressionPtr condition;  // null: else
  Body body;
};

struct Statement {
  enum class Kind {
    data,        // text
    print,       // expression
    choice,      // branches
    loop,        // for names in expression if condition: branches[0]; else: branches[1]
    assign,      // names = expression; names[0] of the namespace `text` where that is not empty
    capture,     // names[0] = branches[0], through the filters of expression
    macro,       // text(names; defaults): branches[0]
    filtered,    // branches[0] through the filters of expression
    block,       // branches[0] with names = values
    leave_loop,  // break
    next_turn,   // continue
  };
  Kind kind;
  int line;
  std::string text = {};
  std::vector<std::string> names = {};
  bool unpacks = false;  // names: (a, b), also (a,)
  ExpressionPtr expression = {}, condition = {};
  std::vector<ExpressionPtr> values = {};  // of a macro: defaults, null where there is none
  std::vector<Branch> branches = {};
};

}  // namespace greta::jinja
