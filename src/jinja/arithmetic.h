#pragma once
// Operators between values.

#include <string_view>

#include "jinja/value.h"

namespace greta::jinja {

/// left `symbol` right: + - * / // % **. Ints have 64 bits here: a result beyond is refused.
Value arithmetic(Budget& budget, std::string_view symbol, const Value& left, const Value& right);

/// -x; +x and "not" x likewise.
Value negation(std::string_view symbol, const Value& value);

/// x[start:stop:step] of a str, list or tuple; None where left out.
Value slice(Budget& budget, const Value& value, const Value& start, const Value& stop, const Value& step);

}  // namespace greta::jinja
