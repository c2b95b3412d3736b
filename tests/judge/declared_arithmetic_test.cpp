// What a trace's manifest says of a kernel, as the oracle takes it.

#include <gtest/gtest.h>

#include "judge/stage_oracle.h"
#include "units/instruction.h"

namespace greta {
namespace {

Declared of_unit(const char* unit) {
  return declared_arithmetic({{"kernels", {{"k", {{"unit", unit}, {"activation", "bf16"}, {"splits", 4}}}}}},
                             "k");
}

TEST(DeclaredArithmetic, NamesAUnitOfTheTable) {
  const Declared declared = of_unit("hopper.mma.m16n8k16.f32.bf16.bf16.f32");
  ASSERT_NE(declared.roundings.unit, nullptr);
  EXPECT_EQ(declared.roundings.unit->fraction_bits, 25);
  EXPECT_EQ(declared.roundings.activation, Format::bf16);
  EXPECT_EQ(declared.roundings.splits, 4);
}

// Else the intervals of another rule would shift the expected value.
TEST(DeclaredArithmetic, AUnitWithoutStepsInTheOracleIsNone) {
  EXPECT_EQ(of_unit("hopper.mma.m16n8k32.f32.e4m3.e4m3.f32").roundings.unit, nullptr);
  EXPECT_EQ(of_unit("no.such.unit").roundings.unit, nullptr);
  EXPECT_EQ(of_unit("").roundings.unit, nullptr);
}

}  // namespace
}  // namespace greta
