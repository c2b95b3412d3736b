#pragma once
// Walsh-Hadamard rotations, by which engines spread outliers before they quantise.

#include <cstdint>
#include <span>
#include <vector>

namespace greta {

/// Blocks of `size` (a power of two that divides x.size()) times H / sqrt(size), H the Walsh-Hadamard matrix
/// in natural order; and how far f32 arithmetic may be from it, whether it multiplies by the matrix, in any
/// order, or adds in stages. An input Error for a size that does not fit.
struct Rotated {
  std::vector<float> value;
  std::vector<double> error;
};
Rotated rotate(std::span<const float> x, int64_t size);

}  // namespace greta
