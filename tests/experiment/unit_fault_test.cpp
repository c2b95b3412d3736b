// Faults that only a bit-accurate matrix unit shows, and what is said of them.

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

struct UnitSetting {
  const char* label;
  const char* device;
  Format input;
  const char* fault;  // "": none
  const char* hypothesis;
};

Verdict judge_on(const UnitSetting& setting) {
  EngineOptions options{1, best_isa(), Format::f32};
  options.device = setting.device;
  options.sim_input = setting.input;
  test::TinyEngine tiny(TensorType::q4_1, options);
  MatrixRequest request;
  request.layers = {0, 1};
  request.experiments = parse_experiments("E0,E2,E3");
  request.prompts = {{"random", "", test::random_tokens(60)}};
  if (*setting.fault != '\0') request.change = fault_change(tiny.engine, {parse_fault(setting.fault, 2)});
  return judge(record_matrix(tiny.engine, request), tiny.engine.model());
}

constexpr Format kBf16 = Format::bf16, kF16 = Format::f16;

class Clean : public testing::TestWithParam<UnitSetting> {};
TEST_P(Clean, UnitsAreWithinTheirRule) {
  const Verdict verdict = judge_on(GetParam());
  EXPECT_EQ(exit_code(verdict.status), 0);
  EXPECT_EQ(verdict.coverage.percent(), 100);
  for (const Finding& found : verdict.findings)
    ADD_FAILURE() << found.title.en << ", r " << found.noise_ratio;
}
INSTANTIATE_TEST_SUITE_P(Devices, Clean,
                         testing::Values(UnitSetting{"mi100", "sim:mi100", kBf16, "", ""},
                                         UnitSetting{"mi250x", "sim:mi250x", kF16, "", ""},
                                         UnitSetting{"mi300x", "sim:mi300x", kBf16, "", ""},
                                         UnitSetting{"mi300x_f16", "sim:mi300x", kF16, "", ""},
                                         UnitSetting{"v100", "sim:v100", kF16, "", ""},
                                         UnitSetting{"a100", "sim:a100", kBf16, "", ""},
                                         UnitSetting{"a100_f16", "sim:a100", kF16, "", ""},
                                         UnitSetting{"h100", "sim:h100", kBf16, "", ""},
                                         UnitSetting{"h100_f16", "sim:h100", kF16, "", ""},
                                         UnitSetting{"b200", "sim:b200", kBf16, "", ""}),
                         [](const auto& test) { return std::string(test.param.label); });

class UnitFault : public testing::TestWithParam<UnitSetting> {};
TEST_P(UnitFault, IsFoundWhereItIsAndNamed) {
  const Verdict verdict = judge_on(GetParam());
  ASSERT_EQ(verdict.findings.size(), 1U);
  const Finding& found = verdict.findings.front();
  const std::string injected = GetParam().fault;
  EXPECT_EQ(name(found.phase), injected.find("@decode") != std::string::npos ? "decode" : "prefill");
  EXPECT_EQ(found.layer, 1);
  EXPECT_EQ(found.stage, Stage::q);
  EXPECT_EQ(found.hypothesis(), GetParam().hypothesis)
      << found.best << " " << found.explained_residual << " r " << found.noise_ratio << " "
      << found.hypothesis_noise_ratio;
  EXPECT_EQ(exit_code(verdict.status), 1);
}
INSTANTIATE_TEST_SUITE_P(
    Faults, UnitFault,
    testing::Values(
        UnitSetting{"h100_minus2", "sim:h100", kF16, "accumulator_bits_minus2@prefill:1", "accumulator_bits"},
        UnitSetting{"v100_minus1", "sim:v100", kF16, "accumulator_bits_minus1@prefill:1", "accumulator_bits"},
        UnitSetting{"a100_minus1", "sim:a100", kF16, "accumulator_bits_minus1@prefill:1", "accumulator_bits"},
        UnitSetting{"mi300x_minus2", "sim:mi300x", kF16, "accumulator_bits_minus2@prefill:1",
                    "accumulator_bits"},
        UnitSetting{"h100_nearest", "sim:h100", kBf16, "accumulator_nearest@prefill:1",
                    "accumulator_rounding"},
        UnitSetting{"v100_nearest", "sim:v100", kF16, "accumulator_nearest@prefill:1",
                    "accumulator_rounding"}),
    [](const auto& test) { return std::string(test.param.label); });

TEST(UnitFaultOf, AUnitOfFmasDoesNotAct) {
  EXPECT_THROW(judge_on({"", "sim:mi100", kBf16, "accumulator_nearest@prefill:1", ""}), Error);
  EXPECT_THROW(judge_on({"", "cpu", kBf16, "accumulator_nearest@prefill:1", ""}), Error);
}

}  // namespace
}  // namespace greta
