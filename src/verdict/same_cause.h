#pragma once
// Which findings are the work of one cause: a kernel that many stages run is mended once.

#include <span>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

/// Findings of one phase and one name (or, of ambiguous ones, the same two) are one where the stage is the
/// same in other layers, where stages of one kind ran the same kernel, or where the name says which weight
/// was taken: kernels have no part in that. What nothing explains is one in stages of one kind with the same
/// kernels. What was found by runs that differ stands alone.
bool is_same_cause(const Finding& a, const Finding& b);

/// The indices of the findings of each cause, in the order of their first.
std::vector<std::vector<size_t>> by_cause(std::span<const Finding> findings);

}  // namespace greta
