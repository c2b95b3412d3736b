#pragma once
// The vocabulary of inferred arithmetic: what kernels that people run do, each with its source.

#include <vector>

#include "judge/arithmetic.h"

namespace greta {

/// What stages of a class, which declare `declared`, may be computed by, from the most exact to the least.
std::vector<Declared> arithmetic_candidates(const KernelClass& kernels, const Declared& declared);

}  // namespace greta
