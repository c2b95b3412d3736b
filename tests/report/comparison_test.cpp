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
            "run                        L stage          status        rel L2   max abs    noise\n"
            "E0/p0_short decode0        0 q              FAULT       2.50e-01  2.00e+00      0.5\n"
            "    outside its bound\n"
            "E0/p0_short decode0        1 attn_post_norm ROUNDING    2.50e-01  2.00e+00      0.5\n"
            "only in B: E1/p4_sys prefill\n"
            "FAULT: 4 stages compared, 1 equal, coverage 100.0 %\n");
}

TEST(ComparisonReport, ShowsFortyRows) {
  BundleComparison result;
  result.pairs.assign(42, pair(0, Stage::q, PairStatus::fault));
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
