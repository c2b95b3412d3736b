#include "verdict/whatif.h"

#include <algorithm>

namespace greta {

int exit_code_of(const WhatIf& result) {
  int code = exit_code(result.reference.status);
  for (const UnitResult& unit : result.units) {
    if (code == 1 || is_clean(unit.status)) continue;
    code = exit_code(unit.status);
  }
  return code;
}

}  // namespace greta
