#include "verdict/whatif.h"

#include <algorithm>

namespace greta {

int exit_code_of(const WhatIf& result) {
  int code = result.reference.exit_code;
  for (const UnitResult& unit : result.units) {
    if (code == 1 || unit.exit_code == 0) continue;
    code = unit.exit_code;
  }
  return code;
}


}  // namespace greta
