// Problems solved over given operands and over gaps, against long double.

#include "judge/stage_problem.h"

#include <fmt/format.h>

#include "base/error.h"
#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::PlainSite;
using test::Row;
using testing::HasSubstr;

using enum Stage;

StageProblem problem_of(Stage stage, int layer, std::vector<int64_t> positions) {
  StageProblem problem = model_problem(test::plain_llama().model(), {layer, stage});
  problem.positions = std::move(positions);
  return problem;
}

std::vector<float> noise(size_t n, uint64_t seed, float scale = 1) {
  test::Noise random(seed);
  std::vector<float> values(n);
  for (float& value : values) value = scale * random.next();
  return values;
}

/// W x in long double.
std::vector<long double> product(const test::PlainMatrix& w, const std::vector<long double>& x) {
  std::vector<long double> y(w.n);
  for (size_t i = 0; i < w.n; ++i) {
    for (size_t j = 0; j < w.k; ++j) y[i] += static_cast<long double>(w.at(i, j)) * x[j];
  }
  return y;
}

std::vector<long double> norm(const std::vector<long double>& x, const test::PlainMatrix& w, double eps) {
  long double square = 0;
  for (const long double value : x) square += value * value;
  const long double r =
      1 / std::sqrt(square / static_cast<long double>(x.size()) + static_cast<long double>(eps));
  std::vector<long double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * r * static_cast<long double>(w.w[i]);
  return y;
}

TEST(StageProblem, OverAGapEqualsLongDouble) {
  // gate <- ffn_norm <- x_attn, neither of the first two recorded.
  const Model& model = test::plain_llama().model();
  auto inner = std::make_shared<StageProblem>(problem_of(ffn_norm, 1, {4}));
  const std::vector<float> x = noise(64, 3);
  inner->operands = {{x, nullptr}};
  StageProblem outer = problem_of(gate, 1, {4});
  outer.operands = {{{}, inner}};
  const Expected expected = expected_of(outer);
  const LayerWeights& weights = model.layers[1];
  const auto exact = product(test::plain_matrix(*weights.of(gate)),
                             norm({x.begin(), x.end()}, test::plain_matrix(*weights.of(ffn_norm)), 1e-5f));
  ASSERT_EQ(expected.value.size(), exact.size());
  const std::vector<double> made = expected_of(*inner).value;
  const Expected without_gap = compute(outer, {std::vector<float>(made.begin(), made.end())});
  for (size_t i = 0; i < exact.size(); ++i) {
    // The operand is rounded to f32 on the way: 64 products of that size.
    EXPECT_NEAR(expected.value[i], static_cast<double>(exact[i]), 64 * 0x1p-24) << i;
    EXPECT_GT(expected.bound[i], without_gap.bound[i]) << "what was made is not known exactly";
    EXPECT_LT(expected.bound[i], 100 * without_gap.bound[i]) << "but nearly";
  }
}

TEST(StageProblem, BoundsHoldF32ArithmeticAndFlagAFewOfThem) {
  // Both directions over a gap, on many inputs: f32 in ascending order stays inside, four bounds do not.
  const Model& model = test::plain_llama().model();
  const test::PlainMatrix w = test::plain_matrix(*model.layers[0].of(up));
  const test::PlainMatrix scale = test::plain_matrix(*model.layers[0].of(ffn_norm));
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> x = noise(64, seed, std::exp2(static_cast<float>(seed % 9) - 4));
    auto inner = std::make_shared<StageProblem>(problem_of(ffn_norm, 0, {0}));
    inner->operands = {{x, nullptr}};
    StageProblem outer = problem_of(up, 0, {0});
    outer.operands = {{{}, inner}};
    const Expected expected = expected_of(outer);
    float square = 0;
    for (const float value : x) square += value * value;
    const float r = 1 / std::sqrt(square / 64 + 1e-5f);
    for (size_t i = 0; i < w.n; ++i) {
      float sum = 0;
      for (size_t j = 0; j < w.k; ++j)
        sum += static_cast<float>(w.at(i, j)) * (x[j] * r * static_cast<float>(scale.w[j]));
      const double error = std::abs(static_cast<double>(sum) - expected.value[i]);
      ASSERT_LE(error, expected.bound[i]) << "seed " << seed << ", element " << i;
      ASSERT_LT(4 * expected.bound[i], 1e-4 * std::max(1.0, std::abs(expected.value[i])))
          << "a bound that hides an error of 1e-4";
    }
  }
}

TEST(StageProblem, AChangeIsMadeInACopyOfTheWay) {
  auto inner = std::make_shared<StageProblem>(problem_of(ffn_norm, 0, {0}));
  inner->operands = {{noise(64, 1), nullptr}};
  auto outer = std::make_shared<StageProblem>(problem_of(gate, 0, {0}));
  outer->operands = {{{}, inner}};
  const auto changed = with_change(outer, inner.get(), [](StageProblem& p) { p.eps = 1; });
  EXPECT_EQ(inner->eps, test::plain_llama().model().config.norm_eps);
  EXPECT_NE(expected_of(*changed).value, expected_of(*outer).value);
  EXPECT_EQ(with_change(outer, nullptr, [](StageProblem&) {}), outer)
      << "nothing to change: the same problem";
}

TEST(StageProblem, OperandsThatDoNotFitAreInputErrors) {
  for (const Stage stage : {attn_norm, q, attn_out, down, logits, q_rope, qk, pv, x_attn, act}) {
    StageProblem problem = problem_of(stage, is_outside_layers(stage) ? kNoLayer : 0, {3});
    Values values;
    for (size_t i = 0; i < operands_at(problem.model->config, problem.at).size(); ++i)
      values.push_back(noise(7 + i, 5));
    try {
      compute(problem, values);
      ADD_FAILURE() << name(stage) << " took operands of 7 values";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << name(stage);
    }
  }
}

TEST(StageProblem, SolvedTogetherIsEachAloneBitForBit) {
  for (const Format activation : {Format::f32, Format::q8_block32, Format::bf16}) {
    std::vector<StageProblem> problems;
    for (const size_t rows : {1, 3, 1, 9, 2}) {
      StageProblem problem = problem_of(gate, 1, std::vector<int64_t>(rows, 5));
      problem.declared.roundings.activation = activation;
      problem.operands = {{noise(64 * rows, 7 + problems.size()), nullptr}};
      ASSERT_TRUE(is_plain_projection(problem));
      problems.push_back(std::move(problem));
    }
    std::vector<const StageProblem*> pointers;
    for (const StageProblem& problem : problems) pointers.push_back(&problem);
    const std::vector<Expected> together = solve_together(pointers);
    ASSERT_EQ(together.size(), problems.size());
    for (size_t i = 0; i < problems.size(); ++i) {
      const Expected alone = expected_of(problems[i]);
      EXPECT_EQ(together[i].value, alone.value) << i;
      EXPECT_EQ(together[i].bound, alone.bound) << i;
    }
  }
  EXPECT_TRUE(solve_together({}).empty());
}

TEST(StageProblem, WhatIsNoPlainProjectionIsSaid) {
  StageProblem problem = problem_of(gate, 1, {4});
  EXPECT_FALSE(is_plain_projection(problem)) << "no operand";
  problem.operands = {{noise(64, 1), nullptr}};
  EXPECT_TRUE(is_plain_projection(problem));
  StageProblem other = problem;
  other.how = [](const StageProblem& p, const Values& v) { return right_of(p, v); };
  EXPECT_FALSE(is_plain_projection(other)) << "a hypothesis's own computation";
  other = problem;
  other.operands.front().made_by = std::make_shared<StageProblem>(problem);
  EXPECT_FALSE(is_plain_projection(other)) << "over a gap";
  other = problem;
  other.kind = StageKind::norm;
  EXPECT_FALSE(is_plain_projection(other));
}

}  // namespace
}  // namespace greta
