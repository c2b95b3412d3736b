#pragma once
// The faulty twins themselves: each takes the op that it replaces.

#include <memory>

#include "isolate/fault.h"

namespace greta::isolate {

/// A projection that reads the dequantised weight's row-major buffer as if it were column-major: element (i,
/// j) of W [n, k] is taken from place j * n + i. For a square weight that is the transpose.
std::shared_ptr<Action> make_column_major(const Engine& engine, const Op& op,
                                          const FaultCondition& condition);

}  // namespace greta::isolate
