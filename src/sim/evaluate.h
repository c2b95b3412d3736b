#pragma once
// One matrix instruction on whole matrices of bits, as a program on the hardware would issue it.

#include <cstddef>
#include <span>
#include <vector>

#include "sim/block.h"

namespace greta::sim {

/// D = A B + C. `a` is m x k, `bt` is B transposed (n x k), `c` and the result are m x n, all row-major,
/// little-endian, without padding, in the instruction's formats.
std::vector<std::byte> evaluate(const units::Instruction& instruction, Form form,
                                std::span<const std::byte> a, std::span<const std::byte> bt,
                                std::span<const std::byte> c);

}  // namespace greta::sim
