#pragma once
// Which columns of a stage's rows are wrong, where the others are right: every second panel of outputs, the
// keys from position 64 on, the last 32 elements. A cause may have a condition; then it is sought inside it.

#include <optional>
#include <vector>

#include "judge/evidence.h"

namespace greta {

struct Condition {
  std::vector<char> inside;  // [width of a head], or [width]
  Text where;                // "in outputs 16-31 of every 32"
};

/// The narrowest of a few forms that holds all wrong columns of all judged rows and is mostly wrong; nullopt
/// where all columns are wrong, or rows have several widths that columns can't be told by.
std::optional<Condition> condition_of(const Evidence& evidence);

/// The evidence with no other columns than these.
Evidence narrowed(Evidence evidence, const Condition& condition);

}  // namespace greta
