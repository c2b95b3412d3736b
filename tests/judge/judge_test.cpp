#include "judge/judge.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/compare_bundles.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;
using testing::SizeIs;

struct Result {
  Bundle bundle;
  Verdict verdict;
};

struct Setting {
  std::vector<int> layers = {0, 1};
  std::vector<std::string> faults = {};
  std::string experiments = "E0,E1,E2,E3,E4";
  bool aligned = true;
  int64_t block = kPrefillBlock;
};

/// The whole matrix on the tiny model: a prompt of one token and one of 21.
Result run_matrix(test::TinyEngine& tiny, const Setting& setting = {}) {
  MatrixRequest request;
  request.experiments = parse_experiments(setting.experiments);
  request.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
  request.layers = setting.layers;
  request.aligned = setting.aligned;
  request.prefill_block = setting.block;
  request.change = fault_change(tiny.engine, parse_faults(setting.faults, 2));
  Bundle bundle = record_matrix(tiny.engine, request);
  Verdict verdict = judge(bundle, tiny.engine.model());
  return {std::move(bundle), std::move(verdict)};
}

const Cell& cell(const Verdict& verdict, const std::string& experiment, const std::string& prompt) {
  for (const Cell& c : verdict.cells) {
    if (c.key == CellKey{experiment, prompt}) return c;
  }
  throw std::runtime_error("no cell " + experiment + "/" + prompt);
}

TEST(Judge, CleanEngineShowsTheContrastOfTheRoutes) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny).verdict;
  EXPECT_EQ(verdict.status, RunStatus::rounding);
  EXPECT_EQ(exit_code(verdict.status), 0);
  EXPECT_THAT(verdict.findings, IsEmpty());
  EXPECT_THAT(verdict.flags, IsEmpty());
  EXPECT_EQ(verdict.coverage.percent(), 100);
  EXPECT_THAT(verdict.cells, SizeIs(10));
  EXPECT_THAT(verdict.cells, Each(Field(&Cell::attested, true)));
  for (const Cell& c : verdict.cells) {
    const std::string& experiment = c.key.experiment;
    const bool same_route = experiment == "E0" || experiment == "E2" || experiment == "E3";
    EXPECT_EQ(c.verdict, same_route ? RunStatus::equal : RunStatus::rounding) << name(c.key);
    EXPECT_EQ(c.q.route, same_route ? "matrix" : "vector");
    EXPECT_EQ(c.q.mae == 0, same_route);
  }
  EXPECT_THAT(cell(verdict, "E3", "many").q.kernel, testing::HasSubstr(".gemm."));
  EXPECT_THAT(cell(verdict, "E2", "many").q.kernel, testing::HasSubstr(".gemv."));
}

TEST(Judge, WhatArrivesDifferentOverAGapIsPropagated) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.layers = {0}}).verdict;  // final_norm's input is not recorded
  EXPECT_EQ(verdict.status, RunStatus::rounding);
  EXPECT_EQ(verdict.coverage.percent(), 100);
}

// The first recorded layer's x_in is an input: what it is made from was not asked for.
TEST(Judge, WhatArrivesDifferentInTheFirstLayerIsAnInput) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.layers = {1}}).verdict;  // its x_in comes from an untraced layer
  EXPECT_EQ(verdict.status, RunStatus::rounding);
  EXPECT_THAT(verdict.coverage.skipped, IsEmpty());
}

TEST(Judge, ChunkedPrefillGivesTheSameVerdict) {
  test::TinyEngine tiny(TensorType::q8_0);
  const Verdict verdict = run_matrix(tiny, {.block = 8}).verdict;
  EXPECT_EQ(cell(verdict, "E0", "many").verdict, RunStatus::equal);
  EXPECT_EQ(exit_code(verdict.status), 0);
}

TEST(Judge, ColumnMajorWqInPrefillIsConvictedThere) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.faults = {"wq_column_major@prefill"}}).verdict;
  EXPECT_EQ(verdict.status, RunStatus::fault);
  EXPECT_EQ(exit_code(verdict.status), 1);
  // Every layer is judged on its own recorded inputs.
  ASSERT_THAT(verdict.findings, ElementsAre(Field(&Finding::layer, 0), Field(&Finding::layer, 1)));
  const Finding& finding = verdict.findings.front();
  EXPECT_EQ(finding.phase, Phases::prefill);
  EXPECT_EQ(finding.stage, Stage::q);
  EXPECT_THAT(finding.cells, SizeIs(10));
  EXPECT_GT(finding.noise_ratio_prefill, 1000);
  EXPECT_EQ(finding.hypothesis(), "weight_column_major");
  EXPECT_GT(finding.explained_residual, 0.999);
  EXPECT_LE(finding.noise_ratio_decode, 1);
  // As in B3.31: the error does not move with the route, up to the route's own rounding.
  const double rounding = cell(run_matrix(tiny).verdict, "E1", "many").q.mae;
  EXPECT_NEAR(cell(verdict, "E0", "many").q.mae, cell(verdict, "E1", "many").q.mae, rounding);
  EXPECT_EQ(cell(verdict, "E0", "many").q.mae, cell(verdict, "E3", "many").q.mae);
}

TEST(Judge, EachFaultIsConvictedInItsPhaseAndStage) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const auto& [fault, stage] : {std::pair{"wk_column_major", Stage::k},
                                     {"wv_column_major", Stage::v},
                                     {"wo_column_major", Stage::attn_out}}) {
    for (const std::string phase : {"prefill", "decode"}) {
      const Verdict verdict =
          run_matrix(tiny, {.faults = {std::string(fault) + "@" + phase + ":1"}, .experiments = "E0"})
              .verdict;
      ASSERT_THAT(verdict.findings, SizeIs(1)) << fault << "@" << phase;
      EXPECT_EQ(verdict.findings[0].stage, stage);
      EXPECT_EQ(verdict.findings[0].layer, 1);
      EXPECT_EQ(name(verdict.findings[0].phase), phase);
    }
  }
}

TEST(Judge, StackedFaultsOfOneInputAreAllListed) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict =
      run_matrix(tiny, {.faults = {"wv_column_major@prefill:0", "wq_column_major@decode:0"}}).verdict;
  EXPECT_THAT(verdict.findings,
              ElementsAre(Field(&Finding::stage, Stage::q), Field(&Finding::stage, Stage::v)));
}

TEST(Judge, AFaultThatBothPhasesShareIsConvictedThoughTheyAgree) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.faults = {"wv_column_major:0"}, .experiments = "E0"}).verdict;
  ASSERT_THAT(verdict.findings, SizeIs(1));
  EXPECT_EQ(verdict.findings[0].phase, Phases::both);
  EXPECT_EQ(verdict.findings[0].stage, Stage::v);
  EXPECT_EQ(verdict.findings[0].mae, 0) << "prefill_last and decode0 are equal bit for bit";
}

TEST(Judge, EveryStageIsHeldAgainstTheOracle) {
  for (const TensorType type :
       {TensorType::q4_1, TensorType::q8_0, TensorType::bf16, TensorType::f16, TensorType::f32}) {
    for (const Format kv : {Format::f32, Format::f16}) {
      test::TinyEngine tiny(type, {1, best_isa(), kv});
      const std::string experiments = type == TensorType::f32 ? "E0,E1,E4" : "E0,E1,E2,E3,E4";
      const Verdict verdict = run_matrix(tiny, {.experiments = experiments}).verdict;
      EXPECT_EQ(exit_code(verdict.status), 0) << name(type) << " kv " << name(kv);
      EXPECT_EQ(verdict.coverage.alone, verdict.coverage.recorded);
      for (const StagePair& pair : verdict.pairs) EXPECT_LE(pair.noise_ratio, 1) << name(pair.stage);
    }
  }
}

TEST(Judge, AConditionOnSHidesTheFaultFromAPromptOfOneToken) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.faults = {"wq_column_major@prefill,S>1"}}).verdict;
  EXPECT_EQ(cell(verdict, "E0", "one").verdict, RunStatus::equal);
  EXPECT_EQ(cell(verdict, "E0", "many").verdict, RunStatus::fault);
  ASSERT_THAT(verdict.findings, SizeIs(2));
  EXPECT_THAT(verdict.findings[0].prompts_that_cannot_show, ElementsAre("one"));
}

TEST(Judge, IgnoredRoutesAreInertNotEqual) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.faults = {"qkv_route_ignored"}}).verdict;
  EXPECT_EQ(verdict.status, RunStatus::inert_factor);
  EXPECT_EQ(exit_code(verdict.status), 4);
  EXPECT_THAT(verdict.flags, Contains(AllOf(Field(&Flag::kind, FlagKind::inert_factor),
                                            Field(&Flag::cell, CellKey{"E1", "many"}))));
  EXPECT_FALSE(cell(verdict, "E1", "many").attested);
  EXPECT_TRUE(cell(verdict, "E2", "many").attested) << "the engine's own choice is the matrix route";
}

TEST(Judge, WithoutAlignmentNoPairIsJudged) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Verdict verdict = run_matrix(tiny, {.aligned = false}).verdict;
  EXPECT_EQ(verdict.status, RunStatus::inconclusive);
  EXPECT_EQ(exit_code(verdict.status), 4);
  EXPECT_THAT(verdict.pairs, Each(Field(&StagePair::status, PairStatus::missing)));
}

TEST(Judge, AnEmptyBundleIsVacuous) {
  test::TinyEngine tiny(TensorType::q4_1);
  Bundle bundle;
  bundle.manifest = nlohmann::json::object();
  EXPECT_EQ(judge(bundle, tiny.engine.model()).status, RunStatus::vacuous);
}

TEST(Judge, MissingDataCannotBeVouchedFor) {
  test::TinyEngine tiny(TensorType::q4_1);
  Bundle bundle = run_matrix(tiny, {.experiments = "E1"}).bundle;
  bundle.tensors.clear();
  const Verdict verdict = judge(bundle, tiny.engine.model());
  EXPECT_EQ(verdict.status, RunStatus::inconclusive);
  EXPECT_LT(verdict.coverage.percent(), 100);
  EXPECT_THAT(verdict.coverage.skipped, testing::Not(IsEmpty()));
}

TEST(Judge, ABundleThatDoesNotFitTheModelIsNoCrash) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle whole = run_matrix(tiny, {.faults = {"wq_column_major@prefill"}, .experiments = "E1"}).bundle;
  for (const char* what : {"layer", "positions", "data"}) {
    Bundle bundle = whole;
    for (Event& event : bundle.events) {
      if (std::string(what) == "layer" && event.layer >= 0) event.layer += 100;
      if (std::string(what) == "positions") event.positions.clear();
    }
    if (std::string(what) == "data") {
      for (auto& [hash, values] : bundle.tensors)
        values = std::make_shared<const std::vector<float>>(values->begin(), values->begin() + 3);
    }
    EXPECT_NE(exit_code(judge(bundle, tiny.engine.model()).status), 0) << what;
  }
}

TEST(CompareBundles, RoutesOfOnePromptDifferByRounding) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle matrix = run_matrix(tiny, {.experiments = "E2"}).bundle;
  const Bundle vector = run_matrix(tiny, {.experiments = "E1"}).bundle;
  EXPECT_EQ(compare_bundles(matrix, matrix, nullptr).status, RunStatus::equal);
  const BundleComparison judged = compare_bundles(matrix, vector, &tiny.engine.model());
  EXPECT_EQ(judged.status, RunStatus::rounding);
  EXPECT_EQ(exit_code(judged.status), 0);
  const BundleComparison blind = compare_bundles(matrix, vector, nullptr);
  EXPECT_EQ(blind.status, RunStatus::inconclusive);
  EXPECT_EQ(exit_code(blind.status), 4);
}

TEST(CompareBundles, FindsTheFaultySide) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle good = run_matrix(tiny, {.experiments = "E0"}).bundle;
  const Bundle bad = run_matrix(tiny, {.faults = {"wk_column_major"}, .experiments = "E0"}).bundle;
  const BundleComparison result = compare_bundles(good, bad, &tiny.engine.model());
  EXPECT_EQ(exit_code(result.status), 1);
  EXPECT_THAT(result.pairs, Contains(AllOf(Field(&StagePair::stage, Stage::k), Field(&StagePair::layer, 0),
                                           Field(&StagePair::status, PairStatus::fault))));
}

}  // namespace
}  // namespace greta
