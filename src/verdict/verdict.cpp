#include "verdict/verdict.h"

namespace greta {

std::string_view name(Status status) {
  switch (status) {
    case Status::equal: return "EQUAL";
    case Status::rounding: return "ROUNDING";
    case Status::fault: return "FAULT";
    case Status::propagated: return "PROPAGATED";
    case Status::missing: return "MISSING";
    case Status::inert_factor: return "INERT_FACTOR";
    case Status::vacuous: return "VACUOUS";
    case Status::ambiguous: return "AMBIGUOUS";
    case Status::inconclusive: return "INCONCLUSIVE";
  }
  return "?";
}

}  // namespace greta
