#include "report/comparison.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace greta::report {
namespace {

using ::testing::HasSubstr;

StagePair pair(int layer, Stage stage, PairStatus status) {
  StagePair pair;
  pair.cell = {"E0", "p0_short"};
  pair.phase = "decode0";
  pair.layer = layer;
  pair.stage = stage;
  pair.status = status;
  pair.metrics.rel_l2 = 0.25;
  pair.metrics.max_abs = 2;
  pair.noise_ratio = 0.5;
  return pair;
}

BundleComparison sample_comparison() {
  BundleComparison result;
  result.status = RunStatus::fault;
  result.pairs = {pair(0, Stage::x_in, PairStatus::equal), pair(0, Stage::q, PairStatus::fault),
                  pair(0, Stage::k, PairStatus::propagated),
                  pair(1, Stage::attn_post_norm, PairStatus::rounding)};
  result.pairs[1].why = "outside its bound";
  result.only_b = {"E1/p4_sys prefill"};
  result.coverage.recorded = result.coverage.judged = 4;
  return result;
}

TEST(ComparisonReport, ShowsWhatDiffersFromEqualInputs) {
  EXPECT_EQ(to_terminal(comparison_report(sample_comparison()), 80, false),
            "FAULT: first layer 0 q in E0/p0_short decode0; 2 layers, 1 runs differ\n\n"
            "first run           runs     L stage          status        rel L2   max abs    noise\n"
            "E0/p0_short decode0    1     0 q              FAULT       2.50e-01  2.00e+00      0.5\n"
            "    outside its bound\n"
            "E0/p0_short decode0    1     1 attn_post_norm ROUNDING    2.50e-01  2.00e+00      0.5\n"
            "only in B: E1/p4_sys prefill\n"
            "FAULT: 4 stages compared, 1 equal, coverage 100.0 %\n");
}

/// Runs that are alike at a place are one row; what is wrong comes first.
TEST(ComparisonReport, GroupsRuns) {
  BundleComparison result;
  result.pairs = {pair(3, Stage::q, PairStatus::rounding), pair(3, Stage::k, PairStatus::fault),
                  pair(3, Stage::k, PairStatus::fault)};
  result.pairs[2].cell = {"E1", "p4_sys"};
  const std::string text = to_terminal(comparison_report(result), 80, false);
  EXPECT_THAT(text, HasSubstr("FAULT: first layer 3 k in E0/p0_short decode0; 1 layers, 2 runs differ\n"));
  EXPECT_THAT(text, HasSubstr("E0/p0_short decode0    2     3 k          FAULT "));
  EXPECT_LT(text.find(" k  "), text.find(" q  "));
}

TEST(ComparisonReport, GroupsLayersOfTheSameRuns) {
  BundleComparison result;
  for (int layer = 0; layer < 42; ++layer) result.pairs.push_back(pair(layer, Stage::q, PairStatus::fault));
  result.pairs.push_back(pair(50, Stage::q, PairStatus::fault));
  result.pairs.back().cell = {"E1", "p4_sys"};
  const std::string text = to_terminal(comparison_report(result), 80, false);
  EXPECT_THAT(text, HasSubstr("E0/p0_short decode0    1  0-41 q "));
  EXPECT_THAT(text, HasSubstr("E1/p4_sys decode0      1    50 q "));
}

TEST(ComparisonReport, ShowsFortyRows) {
  BundleComparison result;
  for (int layer = 0; layer < 42; ++layer) {
    result.pairs.push_back(pair(layer, Stage::q, PairStatus::fault));
    result.pairs.back().why = std::to_string(layer);
  }
  EXPECT_THAT(to_terminal(comparison_report(result), 80, false),
              HasSubstr("\n... and 2 more (--json has all)\n"));
}

TEST(ComparisonReport, JsonHasEveryDifference) {
  const nlohmann::json json = comparison_json(sample_comparison());
  EXPECT_EQ(json["verdict"], "FAULT");
  EXPECT_EQ(json["exit_code"], 1);
  EXPECT_EQ(json["differences"].size(), 3u);
  EXPECT_EQ(json["differences"][0]["why"], "outside its bound");
  EXPECT_FALSE(json["differences"][1].contains("why"));
}

}  // namespace
}  // namespace greta::report
