#pragma once
// Matrix instructions over 16 columns at a time: what a GEMM kernel calls. Forms with the same bits:
// scalar (rule.h per output), AVX2 and AVX-512.

#include <cstdint>
#include <string_view>
#include <vector>

#include "units/instruction.h"

namespace greta::sim {

inline constexpr int kColumns = 16;

enum class Form { scalar, avx2, avx512 };  // narrow to wide
std::string_view name(Form form);
/// The widest form that this machine runs; it runs the narrower ones, too.
Form best_form();

/// Elements of A or B as the unit's adder takes them. Assigning again keeps the memory.
class Operand {
 public:
  /// Reads `count` elements of `element` (info(element).bytes each, unaligned) for `instruction`.
  void assign(const units::Instruction& instruction, units::Element element, const void* bits, int64_t count,
              Form form);

  const float* values() const { return value_.data(); }
  const int32_t* significands() const { return significand_.data(); }
  const int32_t* exponents() const { return exponent_.data(); }

 private:
  std::vector<float> value_;
  // 14 fractional bits, signed, in the low 16 bits; empty for chains and trees.
  std::vector<int32_t> significand_;
  std::vector<int32_t> exponent_;
};

/// acc[i * acc_stride + j] = the running sum after A[i, 0..k) B[0..k, j], for i < rows, j < 16: `instruction`
/// along K in ascending order, the sum staying in its format (an f16 sum as f32 values). `a` is rows x k, `b`
/// is k x 16, both row-major; k is a multiple of instruction.k (pad with zeros).
void multiply(const units::Instruction& instruction, Form form, const Operand& a, const Operand& b,
              int64_t rows, int64_t k, float* acc, int64_t acc_stride);

}  // namespace greta::sim
