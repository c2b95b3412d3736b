#pragma once
// What was convicted, recorded once more: the same tokens must leave the same bits. Where they do not, a race
// makes one thing of this run and another of the next, and no computation that explains one of them is the
// cause.

#include <functional>
#include <vector>

#include "bundle/bundle.h"
#include "engine/engine.h"
#include "record/matrix_request.h"
#include "verdict/verdict.h"

namespace greta {

/// `findings` as they are where the cell of the first one is recorded again alike, each time. Else the first
/// stage that differs is a finding before them, and theirs are no names any more. `recorded` is what they
/// were found in; `step` may throw to stop.
std::vector<Finding> hold_against_repetition(Engine& engine, const MatrixRequest& matrix,
                                             const Bundle& recorded, std::vector<Finding> findings,
                                             const std::function<void()>& step);

/// Whether the first of them says that runs differ.
bool is_repeatable(const std::vector<Finding>& findings);

}  // namespace greta
