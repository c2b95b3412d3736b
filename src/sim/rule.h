#pragma once
// The arithmetic of matrix units, one output at a time:
// the form that reads like the rule. block.h has the fast one.

#include <cstdint>

#include "units/instruction.h"

namespace greta::sim {

/// An element of A or B as the instruction reads it: to_f32, and 0 for a subnormal if it flushes those.
float read_input(const units::Instruction& instruction, units::Element element, uint32_t bits);
/// The running sum that an instruction starts from, of a value of format c.
float read_sum(const units::Instruction& instruction, float c);

/// One step: the running sum after `instruction.group` products a[i] * b[i * b_stride]. `sum` and the result
/// are values of format d.
float add_group(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride,
                float sum);

/// `k` products (a multiple of the group): one instruction, or a chain of them along K.
float dot(const units::Instruction& instruction, const float* a, const float* b, int64_t b_stride, int64_t k,
          float c);

}  // namespace greta::sim
