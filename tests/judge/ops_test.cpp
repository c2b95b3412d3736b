// Each op by an engine of plain f32 loops: right within the oracle's own bound (noise ratio <= 1), in f32 and
// with bf16 inputs and outputs; and wrong in ways that kernels are. No model is there.

#include <gmock/gmock.h>

#include "judge/op_cases.h"

namespace greta::op_cases {

using ::testing::HasSubstr;

class Ops : public ::testing::TestWithParam<OpCase> {};

INSTANTIATE_TEST_SUITE_P(Each, Ops, ::testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.label; });

TEST_P(Ops, RightIsWithinItsBound) {
  const JudgedOp exact = judged(recorded(GetParam(), 0, false));
  EXPECT_EQ(exact.status, OpStatus::within) << exact.noise_ratio << " " << exact.why;
  EXPECT_LE(exact.noise_ratio, 1);
  EXPECT_EQ(exact.arithmetic, "");
  if (GetParam().exact) return;
  const JudgedOp coarse = judged(recorded(GetParam(), 0, true));
  EXPECT_EQ(coarse.status, OpStatus::within) << coarse.noise_ratio << " " << coarse.why;
  EXPECT_LE(coarse.noise_ratio, 1);
}

TEST_P(Ops, WrongIsConvictedAndNamed) {
  for (int bug = 1; bug <= GetParam().bugs; ++bug) {
    const JudgedOp op = judged(recorded(GetParam(), bug, false));
    EXPECT_EQ(op.status, OpStatus::fault) << "bug " << bug << ": " << op.noise_ratio << " " << op.why;
    const size_t at = static_cast<size_t>(bug - 1);
    const std::string name = at < GetParam().names.size() ? GetParam().names[at] : "";
    if (!name.empty()) {
      EXPECT_EQ(op.hypothesis, name) << "bug " << bug << ": " << op.title.en;
    }
    if (GetParam().exact) continue;
    EXPECT_EQ(judged(recorded(GetParam(), bug, true)).status, OpStatus::fault) << "bf16, bug " << bug;
  }
}

TEST(OpVerdict, TitlesSayTheMatricesOfTheOp) {
  const std::vector<OpCase> all = cases();
  const auto experts =
      std::find_if(all.begin(), all.end(), [](const OpCase& c) { return c.op == "mul_mat_id"; });
  Bundle bundle = recorded(*experts, 1, false);
  bundle.events.back().layer = 3;  // so do its labels say "layer"
  EXPECT_THAT(judged(bundle).title.en, HasSubstr("(layer 3) is used in matrix"));
}

TEST(OpVerdict, UnknownIsUnmeasured) {
  OpCase c{"", "flux_capacitor", {some({2, 4}, 1)},
           {}, {2, 4},           [](const auto& in, int) { return in[0].values; }};
  const std::vector<JudgedOp> ops = judge_ops(recorded(c, 0, false), nullptr);
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops[0].status, OpStatus::unmeasured);
  EXPECT_THAT(ops[0].why, HasSubstr("flux_capacitor"));
  const Verdict verdict = with_ops({}, ops, false);
  EXPECT_EQ(exit_code(verdict.status), 4);
}

static std::string error_of(const OpCase& c) {
  try {
    judged(recorded(c, 0, false));
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(OpVerdict, WhatContradictsItselfIsAnInputError) {
  const Engine first = [](const auto& in, int) { return in[0].values; };
  EXPECT_THAT(error_of({"",
                        "mul_mat",
                        {some({8, 4}, 1), some({2, 5}, 2)},
                        {},
                        {2, 4},
                        [](const auto&, int) { return Floats(8); }}),
              HasSubstr("inputs [8, 4] [2, 5], output [2, 4]"));
  EXPECT_THAT(error_of({"", "scale", {some({2, 4}, 1)}, {{"scale", 1.0}, {"wat", 2.0}}, {2, 4}, first}),
              HasSubstr("no attribute wat"));
  EXPECT_THAT(error_of({"", "scale", {some({2, 4}, 1)}, {}, {2, 4}, first}),
              HasSubstr("lacks the attribute scale"));
  EXPECT_THAT(error_of({"", "scale", {some({2, 4}, 1), some({2, 4}, 1)}, {{"scale", 1.0}}, {2, 4}, first}),
              HasSubstr("has 2 inputs"));
  EXPECT_THAT(error_of({"", "unary", {some({2, 4}, 1)}, {{"activation", "wat"}}, {2, 4}, first}),
              HasSubstr("known are silu"));
  EXPECT_THAT(error_of({"",
                        "get_rows",
                        {some({2, 4}, 1), {{1}, {7}}},
                        {},
                        {1, 4},
                        [](const auto&, int) { return Floats(4); }}),
              HasSubstr("no row"));
  for (const double head_dim : {0.5, 5.0, 1e300, static_cast<double>(NAN)})
    EXPECT_NE(
        error_of({"", "rope", {some({2, 4}, 1)}, {{"base", 1e4}, {"head_dim", head_dim}}, {2, 4}, first}),
        "");
  EXPECT_NE(error_of({"", "rope", {some({1, 4}, 1), {{1}, {NAN}}}, {{"base", 1e4}}, {1, 4}, first}), "");
  Bundle missing = recorded({"", "cpy", {some({2, 4}, 1)}, {}, {2, 4}, first}, 0, false);
  missing.events.back().inputs = {"elsewhere"};
  EXPECT_THROW(judge_ops(missing, nullptr), std::exception);
  missing.events.back().inputs = {"weight: w"};
  EXPECT_THROW(judge_ops(missing, nullptr), std::exception);
}

}  // namespace greta::op_cases
