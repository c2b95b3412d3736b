// Which findings are one. Nothing is computed: no tolerance.

#include "verdict/same_cause.h"

#include <gmock/gmock.h>

namespace greta {
namespace {

using testing::ElementsAre;

Finding named(Stage stage, int layer, const char* hypothesis, const char* kernel) {
  Finding finding;
  finding.phase = Phases::decode;
  finding.stage = stage;
  finding.layer = layer;
  finding.cause = Cause::named;
  finding.family = CauseFamily::sum;
  finding.best = hypothesis;
  finding.kernels = {kernel};
  return finding;
}

Finding unexplained(Stage stage, int layer, const char* kernel) {
  Finding finding = named(stage, layer, "output_scaled", kernel);
  finding.cause = Cause::unexplained;
  return finding;
}

TEST(SameCause, AKernelThatManyStagesRunIsOne) {
  const std::vector<Finding> findings = {
      named(Stage::q, 0, "lane_dropped", "gemv"), named(Stage::attn_out, 0, "lane_dropped", "gemv"),
      named(Stage::k, 0, "lane_dropped", "gemm"), named(Stage::q, 1, "lane_dropped", "gemv"),
      named(Stage::up, 1, "rows_swapped", "gemv")};
  EXPECT_THAT(by_cause(findings), ElementsAre(ElementsAre(0, 1, 3), ElementsAre(2), ElementsAre(4)));
}

/// Kernels take the weight that they are given.
TEST(SameCause, WhichWeightWasTakenIsNoBusinessOfTheKernel) {
  Finding a = named(Stage::q, 0, "wrong_layer_weight", "gemv"),
          b = named(Stage::down, 0, "wrong_layer_weight", "gemm");
  EXPECT_FALSE(is_same_cause(a, b));
  a.family = b.family = CauseFamily::weight;
  EXPECT_TRUE(is_same_cause(a, b));
}

TEST(SameCause, WhatNothingExplainsIsOneInTheSameKernelsOnly) {
  Finding a = unexplained(Stage::q, 0, "gemv"), b = unexplained(Stage::up, 0, "gemv");
  EXPECT_TRUE(is_same_cause(a, b));
  b.kernels.push_back("other");
  EXPECT_FALSE(is_same_cause(a, b));
  a.kernels = b.kernels = {};
  EXPECT_FALSE(is_same_cause(a, b));
}

TEST(SameCause, KindsPhasesAndRivalsAreApart) {
  const Finding q = named(Stage::q, 0, "zero", "one");
  EXPECT_FALSE(is_same_cause(q, named(Stage::attn_norm, 0, "zero", "one")));
  Finding prefill = q;
  prefill.phase = Phases::prefill;
  EXPECT_FALSE(is_same_cause(q, prefill));
  Finding a = q, b = q;
  a.cause = b.cause = Cause::ambiguous;
  a.runner_up = "stale";
  b.best = "stale";
  b.runner_up = "zero";
  EXPECT_TRUE(is_same_cause(a, b));
  b.runner_up = "other";
  EXPECT_FALSE(is_same_cause(a, b));
}

TEST(SameCause, WhatRunsShowStandsAlone) {
  Finding a = named(Stage::q, 0, "missing_barrier", ""), b = named(Stage::k, 0, "missing_barrier", "");
  a.difference = b.difference = Difference{};
  EXPECT_FALSE(is_same_cause(a, b));
}

}  // namespace
}  // namespace greta
