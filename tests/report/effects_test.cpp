#include "report/effects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "report/facts.h"
#include "report/report.h"
#include "report/sample_verdict.h"

namespace greta::report {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// The fault in decode, where the matrix route alone has it, with every prompt.
Verdict fault_of_the_matrix_route() {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) {
    finding.phase = Phases::decode;
    finding.cells = {{"E0", "p0_short"}, {"E0", "p4_sys"},   {"E2", "p0_short"},
                     {"E2", "p4_sys"},   {"E3", "p0_short"}, {"E3", "p4_sys"}};
    std::swap(finding.noise_ratio_prefill, finding.noise_ratio_decode);
  }
  for (Cell& cell : verdict.cells) cell.q.mae = cell.q.route == "matrix" ? 0.5 : 0.002;
  return verdict;
}

TEST(Effects, OfAFaultThatTheRouteDoesNotMove) {
  const Effects effects = effects_of(fault_verdict());
  EXPECT_TRUE(effects.of_fault);
  ASSERT_TRUE(effects.route && effects.gemm && effects.prompt);
  EXPECT_EQ(effects.route->fault, 0);
  EXPECT_EQ(effects.gemm->fault, 0);
  EXPECT_THAT(effects.prompt->shows_with, ElementsAre("p4_sys"));
  EXPECT_THAT(effects.prompt->not_with, ElementsAre("p0_short"));
  EXPECT_FALSE(effects.interaction) << "one prompt alone shows it";
}

TEST(Effects, OfOneRouteNameIt) {
  const Effects effects = effects_of(fault_of_the_matrix_route());
  ASSERT_TRUE(effects.route && effects.interaction);
  EXPECT_THAT(effects.route->shows_with, ElementsAre("MFMA"));
  EXPECT_THAT(effects.route->not_with, ElementsAre("VALU"));
  EXPECT_EQ(*effects.interaction, 0);
  EXPECT_THAT(
      b3_31_analysis(fault_of_the_matrix_route()),
      AllOf(HasSubstr("The fault depends on the route (matrix or vector) of decode's Q, K and V: it "
                      "shows with MFMA, not with VALU."),
            HasSubstr("does not depend on forced GEMM"), HasSubstr("Route and prompt do not interact"),
            HasSubstr("decode is wrong, prefill is within rounding at this stage (noise ratio 0.3)"),
            HasSubstr("The fault shows with every prompt"), Not(HasSubstr("is not the cause"))));
}

TEST(Effects, InteractWhereTheRouteMattersWithOnePromptOnly) {
  Verdict verdict = fault_of_the_matrix_route();
  for (Finding& finding : verdict.findings)
    finding.cells.insert(finding.cells.end(), {{"E1", "p4_sys"}, {"E4", "p4_sys"}});
  for (Cell& cell : verdict.cells) {
    if (cell.key.prompt == "p4_sys") cell.q.mae = 0.5;
  }
  const Effects effects = effects_of(verdict);
  ASSERT_TRUE(effects.interaction);
  EXPECT_EQ(*effects.interaction, 1);
  EXPECT_TRUE(effects.route->splits);
  EXPECT_THAT(effects.route->shows_with, ElementsAre()) << "VALU shows it with p4_sys, not with p0_short";
  EXPECT_THAT(b3_31_analysis(verdict), AllOf(HasSubstr("Route and prompt interact"), HasSubstr("by 100 %"),
                                             HasSubstr("of two cells that differ in it alone, only one")));
}

TEST(Effects, LeaveOutCellsThatAreNotAttested) {
  Verdict verdict = fault_verdict();
  verdict.cells[3].q.mae = 9;  // E1/p4_sys, which really ran something else
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("The fault depends on the route"));
  verdict.cells[3].attested = false;
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("does not depend on the route"));
}

TEST(Effects, AreNotClaimedWithoutAPairOfCells) {
  Verdict verdict = fault_verdict();
  std::erase_if(verdict.cells, [](const Cell& cell) { return cell.key.experiment != "E0"; });
  const Effects effects = effects_of(verdict);
  EXPECT_FALSE(effects.route || effects.gemm || effects.interaction);
  EXPECT_TRUE(effects.prompt);
  EXPECT_THAT(b3_31_analysis(verdict), AllOf(Not(HasSubstr("the route")), Not(HasSubstr("forced GEMM"))));
  std::erase_if(verdict.cells, [](const Cell& cell) { return cell.key.prompt != "p4_sys"; });
  EXPECT_FALSE(effects_of(verdict).prompt);
}

TEST(Effects, OfRoundingAreToldFromTheFaults) {
  Verdict verdict = fault_verdict();
  for (Cell& cell : verdict.cells) cell.q.mae = cell.q.route == "matrix" ? 1e-3 : 2e-3;
  for (StagePair& pair : verdict.pairs) {  // the oracle sees the same fault in prefill everywhere
    pair.judged_alone = true;
    pair.noise_ratio_prefill = 7;
  }
  const Effects effects = effects_of(verdict);
  EXPECT_EQ(effects.route->mae, 0.5);
  EXPECT_EQ(effects.route->fault, 0);
  EXPECT_THAT(b3_31_analysis(verdict),
              HasSubstr("the MAE of Q changes by up to 50 %, but against the fp64 oracle the fault stays"));
}

TEST(Effects, FollowTheStageThatIsAtFault) {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) finding.stage = Stage::v;
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("the MAE of V stays exactly the same"));
  for (Finding& finding : verdict.findings) finding.stage = Stage::down;
  EXPECT_THAT(b3_31_analysis(verdict), Not(HasSubstr("depend on the route"))) << "no pair at that stage";
  for (StagePair& pair : verdict.pairs) pair.stage = Stage::down;
  EXPECT_THAT(b3_31_analysis(verdict), AllOf(HasSubstr("the MAE of down in layer 0 stays exactly the same"),
                                             Not(HasSubstr("is not the cause"))));
}

TEST(Effects, OfAFaultInBothPhasesDoNotSpeakOfTheirDifference) {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) finding.phase = Phases::both;
  EXPECT_THAT(b3_31_analysis(verdict), AllOf(HasSubstr("does not depend on the phase: both are wrong"),
                                             HasSubstr("it shows either way"), Not(HasSubstr("MAE of Q")),
                                             HasSubstr("wrong by more than rounding explains")));
}

TEST(Effects, WithoutASizeSayOnlyWhereTheFaultShows) {
  Verdict verdict = fault_verdict();
  for (Cell& cell : verdict.cells) cell.q.mae = cell.q.route == "matrix" ? 1 : 2;
  for (StagePair& pair : verdict.pairs) {
    pair.judged_alone = true;
    pair.noise_ratio_prefill = std::numeric_limits<double>::infinity();  // the bound is 0
  }
  EXPECT_THAT(b3_31_analysis(verdict), AllOf(HasSubstr("decode's Q, K and V: it shows either way"),
                                             Not(HasSubstr("The fault depends on the route"))));
}

TEST(Effects, SayWhenTheOtherPhaseWasNotJudged) {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) finding.noise_ratio_decode = 0;
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("decode was not judged at this stage"));
  verdict.noise.push_back({Phase::decode, 0, Stage::q, 40});
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("each in its own way"));
}

}  // namespace
}  // namespace greta::report
