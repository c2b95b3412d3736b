#pragma once
// What a file compiled for one ISA offers to block.cpp. Plain data: such a file must not share inline
// functions with the rest of the program.

#include "units/instruction.h"

namespace greta::sim {

/// Pointers into an Operand.
struct OperandView {
  const float* value;
  const int32_t* significand;
  const int32_t* exponent;
};

struct Product {
  const units::Instruction* instruction;
  int sum_min_exponent;
  /// Operands or sums with NaN, infinity or overflow are left to the scalar form.
  float (*add_group)(const units::Instruction&, const float* a, const float* b, int64_t b_stride, float sum);
  float (*dot)(const units::Instruction&, const float* a, const float* b, int64_t b_stride, int64_t k,
               float c);
  OperandView a, b;
  int64_t rows, k;
  float* acc;
  int64_t acc_stride;
};

struct ElementsToRead {
  units::Element element;
  bool flush;
  int min_exponent;
  int zero_exponent;
  const float* table;  // the 256 values of a one-byte element
  const void* bits;
  int64_t count;  // a multiple of 16
  float* value;
  int32_t* significand;  // or null
  int32_t* exponent;
};

struct BlockForm {
  void (*read)(const ElementsToRead&);
  void (*multiply)(const Product&);
};

extern const BlockForm kAvx2Form, kAvx512Form;

}  // namespace greta::sim
