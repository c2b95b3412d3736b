// What a trace's manifest says of a kernel, as the oracle takes it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "judge/stage_oracle.h"
#include "units/instruction.h"

namespace greta {
namespace {

Declared of_unit(const char* unit) {
  return declared_arithmetic(
      {{"kernels", {{"k", {{"unit", unit}, {"activation", "bf16"}, {"splits", 4}, {"slice", 256}}}}}}, "k");
}

TEST(DeclaredArithmetic, NamesAUnitOfTheTable) {
  const Declared declared = of_unit("hopper.mma.m16n8k16.f32.bf16.bf16.f32");
  ASSERT_NE(declared.roundings.unit, nullptr);
  EXPECT_EQ(declared.roundings.unit->fraction_bits, 25);
  EXPECT_EQ(declared.roundings.activation, Format::bf16);
  EXPECT_EQ(declared.roundings.splits, 4);
  EXPECT_EQ(declared.roundings.slice, 256);
}

// Else the intervals of another rule would shift the expected value.
TEST(DeclaredArithmetic, AUnitWithoutStepsInTheOracleIsNone) {
  EXPECT_EQ(of_unit("hopper.mma.m16n8k32.f32.e4m3.e4m3.f32").roundings.unit, nullptr);
  EXPECT_EQ(of_unit("no.such.unit").roundings.unit, nullptr);
  EXPECT_EQ(of_unit("").roundings.unit, nullptr);
}

/// What is said of a bundle in which kernel "k" with this declaration ran a stage.
std::string refusal(const nlohmann::json& declaration, const std::string& stage) {
  Bundle bundle;
  bundle.path = "b";
  bundle.manifest = {{"kernels", {{"k", declaration}}}};
  Event event;
  event.stage = stage, event.kernel = "k";
  bundle.events.push_back(event);
  try {
    demand_known_declarations(bundle);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "";
}

TEST(DeclaredArithmetic, WhatCannotBeHeededIsRefusedWithTheListOfTheKnown) {
  using testing::AllOf;
  using testing::HasSubstr;
  EXPECT_THAT(refusal({{"activation", "q8_5"}}, "q"),
              AllOf(HasSubstr("b: manifest.json, kernel k"), HasSubstr("q8_5"), HasSubstr("q8_1_sum")));
  EXPECT_THAT(refusal({{"activations", "f16"}}, "q"),
              AllOf(HasSubstr("activations"), HasSubstr("activation,")));
  EXPECT_THAT(refusal({{"angle", "slow"}}, "q_rope"), HasSubstr("iterated"));
  EXPECT_THAT(refusal({{"rotation", 100}}, "kv_write"), HasSubstr("a power of two"));
  EXPECT_EQ(refusal({{"rotation", 64}, {"rotation_of_values", 0}}, "kv_write"), "");
  EXPECT_THAT(refusal({{"rotation", 64}}, "qk"), HasSubstr("does not read rotation"));
  // Fields that other stages read.
  EXPECT_THAT(refusal({{"sum_lanes", 4}}, "q"), HasSubstr("does not read sum_lanes"));
  EXPECT_THAT(refusal({{"splits", 4}}, "attn_norm"), HasSubstr("does not read splits"));
  EXPECT_THAT(refusal({{"accumulator", "f16"}}, "attn_norm"), HasSubstr("does not read accumulator"));
  EXPECT_THAT(refusal({{"activation", "q8_0"}}, "act"), HasSubstr("does not read activation"));
}

TEST(DeclaredArithmetic, WhatIsHeededIsNot) {
  for (const char* stage : {"q", "attn_norm", "q_rope", "kv_write", "qk", "softmax", "pv", "x_out", "act"}) {
    const nlohmann::json all = {{"activation", "bf16"}, {"accumulator", "f32"}, {"output", "bf16"},
                                {"route", "matrix"},    {"op", "any"},          {"note", "of torch"}};
    EXPECT_EQ(refusal(all, stage), "") << stage;
  }
  EXPECT_EQ(refusal({{"activation", "q8_0"}, {"accumulator", "f16"}}, "qk"), "");
  EXPECT_EQ(refusal({{"anything", 1}}, "no_stage_of_ours").empty(), false)
      << "unknown fields are unknown anywhere";
}

TEST(DeclaredArithmetic, ACoarseEngineRoundsBetweenItsSteps) {
  const auto of = [](const nlohmann::json& entry) {
    return declared_arithmetic({{"kernels", {{"k", entry}}}}, "k").roundings.between;
  };
  EXPECT_EQ(of({{"activation", "bf16"}, {"output", "bf16"}}), Format::bf16);
  EXPECT_EQ(of({{"activation", "f16"}}), Format::f32);
  EXPECT_EQ(of({{"activation", "bf16"}, {"output", "bf16"}, {"between", "f32"}}), Format::f32);
}

}  // namespace
}  // namespace greta
