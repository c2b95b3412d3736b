#pragma once
// A bug in every stage of a kernel hides the kernel's arithmetic: nothing can be inferred from what is wrong
// everywhere. What explains much of it is tried again with each arithmetic that people's kernels have.

#include <optional>

#include "judge/hypotheses/explain.h"

namespace greta {

/// The explanation with an arithmetic by which it reproduces the output within rounding, and says so. nullopt
/// where it does so already, where the kernels' arithmetic is known, or where none does.
std::optional<Explanation> with_other_arithmetic(const Explanation& explanation, const Evidence& evidence,
                                                 const Search& search);

}  // namespace greta
