// The program that runs is the one that is judged: each test puts a mistake where no record looks, in a
// plan that is recorded clean.

#include "experiment/contract.h"

#include <gmock/gmock.h>

#include <functional>

#include "engine/tiny_model.h"
#include "experiment/program.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

/// Scales the rows of a stage's output that a condition picks.
class WrongRows final : public Action {
 public:
  using Picks = std::function<bool(const KernelArgs& args, int64_t row, int threads)>;
  explicit WrongRows(Picks picks) : picks_(std::move(picks)) {}
  std::string label() const override { return "wrong rows"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t row = 0; row < args.out.rows; ++row) {
      if (!picks_(args, row, part.count)) continue;
      for (int64_t i = 0; i < args.out.cols; ++i) args.out.row(row)[i] *= 1.25f;
    }
  }

 private:
  Picks picks_;
};

class ContractTest : public testing::Test {
 protected:
  /// The matrix with a change of every plan is recorded, judged clean, and held against production.
  Contract contract(std::function<void(PlanEdit&)> edit = {}, bool quick = false, int threads = 1) {
    tiny_ =
        std::make_unique<test::TinyEngine>(TensorType::q4_1, EngineOptions{threads, best_isa(), Format::f32});
    request_.experiments = parse_experiments("E0,E1");
    request_.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
    request_.layers = {0, 1};
    request_.change.edit = std::move(edit);
    const Bundle bundle = record_matrix(tiny_->engine, request_);
    judged_ = judge(bundle, tiny_->engine.model());
    return check_contract(tiny_->engine, request_, bundle, {.seed = 3, .quick = quick});
  }

  /// In the first layer: what the last one makes of inner rows nobody reads.
  static std::function<void(PlanEdit&)> wrong(Stage stage, WrongRows::Picks picks, int layer = 0) {
    return [=](PlanEdit& edit) {
      const Op* op = edit.find({layer, stage});
      if (op == nullptr) return;
      edit.after(
          *op,
          {.layer = layer, .call = ActionCall{std::make_shared<WrongRows>(picks)}, .writes = op->writes});
    };
  }

  /// Changes the parameters of fused ops of a kind: their parts stay right.
  static std::function<void(PlanEdit&)> wrong_fused(OpKind kind, std::function<void(OpParams&)> change) {
    return [=](PlanEdit& edit) {
      for (Op& op : edit.ops()) {
        auto* fused = std::get_if<FusedCall>(&op.call);
        if (fused != nullptr && fused->call.kernel->op == kind) change(fused->call.params);
      }
    };
  }

  std::unique_ptr<test::TinyEngine> tiny_;
  MatrixRequest request_;
  Verdict judged_;
};

TEST_F(ContractTest, ACleanEngineIsHeldAndSaysWhatItDidNotExercise) {
  for (const int threads : {1, 2}) {
    const Contract clean = contract({}, false, threads);
    EXPECT_THAT(clean.differences, IsEmpty());
    const Exercise& exercise = clean.exercise;
    EXPECT_TRUE(exercise.held);
    EXPECT_EQ(exercise.prompts, 2);
    EXPECT_EQ(exercise.own_tokens, 258);
    EXPECT_GT(exercise.judged, 100);
    EXPECT_THAT(exercise.steps, Contains(257));
    EXPECT_THAT(exercise.caches, Contains("f16"));
    EXPECT_THAT(exercise.unvouched, IsEmpty());
    EXPECT_THAT(exercise.equal, Contains(HasSubstr("attention")));
    EXPECT_THAT(exercise.equal, Contains(HasSubstr("rms_norm.q8")));
    EXPECT_THAT(exercise.not_exercised.front().en, HasSubstr("positions from 258 on"));
    EXPECT_THAT(exercise.threads, ElementsAre(1, 2));  // each is held against the other
  }
}

TEST_F(ContractTest, QuickRunsNoTokensOfItsOwn) {
  const Contract quick = contract({}, true);
  EXPECT_TRUE(quick.exercise.held);
  EXPECT_EQ(quick.exercise.own_tokens, 0);
  std::string all;
  for (const Text& what : quick.exercise.not_exercised) all += what.en + ";";
  EXPECT_THAT(all, HasSubstr("several steps of decode"));
  EXPECT_THAT(all, HasSubstr("f16"));
}

TEST_F(ContractTest, AFusedKernelThatIsWrongIsNamedThoughNoRecordShowsIt) {
  for (const bool quick : {false, true}) {
    const Contract found =
        contract(wrong_fused(OpKind::attention, [](OpParams& p) { p.scale *= 1.5f; }), quick);
    EXPECT_THAT(judged_.findings, IsEmpty());
    ASSERT_THAT(found.differences, SizeIs(1));
    const Finding& finding = found.differences.front();
    EXPECT_EQ(finding.hypothesis(), "fused_kernel");
    EXPECT_EQ(finding.stage, Stage::pv);
    EXPECT_EQ(finding.layer, 0);
    EXPECT_EQ(name(finding.phase), "both");
    EXPECT_THAT(finding.title.en, HasSubstr("attention"));
    EXPECT_FALSE(found.exercise.held);
    EXPECT_THAT(found.exercise.unvouched, Contains(HasSubstr("attention")));
  }
}

TEST_F(ContractTest, AFusedNormIsToldWithEveryStageThatItMakes) {
  const Contract found = contract(wrong_fused(OpKind::rms_norm, [](OpParams& p) { p.eps = 0.5f; }));
  ASSERT_THAT(found.differences, SizeIs(1));
  EXPECT_EQ(found.differences.front().stage, Stage::attn_norm);
  std::string told;
  for (const Text& sentence : found.differences.front().difference->told) told += sentence.en;
  EXPECT_THAT(told, HasSubstr("ffn_norm"));
  EXPECT_THAT(told, Not(HasSubstr("makes act differ")));
}

TEST_F(ContractTest, ARowThatNoFixedRowShowsIsRecordedAndJudged) {
  const Contract found = contract(wrong(Stage::down, [](const KernelArgs& args, int64_t row, int) {
    return args.block_rows > 1 && args.position + row == 40;
  }));
  EXPECT_THAT(judged_.findings, IsEmpty());
  ASSERT_FALSE(found.differences.empty());
  const Finding& finding = found.differences.front();
  EXPECT_EQ(finding.stage, Stage::down);
  EXPECT_EQ(finding.layer, 0);
  EXPECT_EQ(name(finding.phase), "prefill");
  EXPECT_EQ(finding.difference->first->position, 40);
}

TEST_F(ContractTest, APositionThatBothPhasesGetWrongAlikeIsJudgedInAttention) {
  const Contract found = contract([](PlanEdit& edit) {
    for (const int layer : {0, 1}) {
      wrong(
          Stage::pv, [](const KernelArgs& args, int64_t row, int) { return args.position + row == 44; },
          layer)(edit);
    }
  });
  EXPECT_THAT(judged_.findings, IsEmpty());
  ASSERT_FALSE(found.differences.empty());
  EXPECT_EQ(found.differences.front().stage, Stage::pv);
}

TEST_F(ContractTest, ABlockThatDoesNotBeginAtZeroIsJudgedThere) {
  const Contract found = contract(wrong(Stage::k, [](const KernelArgs& args, int64_t, int) {
    return args.block_rows > 1 && args.block_rows < 21 && args.position > 0;
  }));
  EXPECT_THAT(judged_.findings, IsEmpty());
  ASSERT_FALSE(found.differences.empty());
  EXPECT_EQ(found.differences.front().stage, Stage::k);
  EXPECT_EQ(name(found.differences.front().phase), "prefill");
}

TEST_F(ContractTest, TheNumberOfThreadsIsTold) {
  const Contract found = contract(
      wrong(Stage::k,
            [](const KernelArgs& args, int64_t, int threads) { return args.block_rows > 1 && threads == 1; }),
      false, 2);
  ASSERT_THAT(found.differences, SizeIs(1));
  EXPECT_EQ(found.differences.front().hypothesis(), "thread_count");
}

TEST_F(ContractTest, AWrongRunIsTheVerdict) {
  Contract found = contract(wrong_fused(OpKind::attention, [](OpParams& p) { p.scale *= 1.5f; }));
  EXPECT_EQ(judged_.status, RunStatus::rounding);
  const Verdict verdict = completed(judged_, {.differences = found.differences, .exercise = found.exercise});
  EXPECT_EQ(verdict.status, RunStatus::fault);
  EXPECT_EQ(exit_code(verdict.status), 1);
}

TEST_F(ContractTest, AShortLastTileOfALargeBlockIsRun) {
  const Contract found = contract(wrong(Stage::k, [](const KernelArgs& args, int64_t row, int) {
    return args.block_rows > 32 && args.block_rows % 4 == 1 && row == args.block_rows - 1;
  }));
  EXPECT_THAT(judged_.findings, IsEmpty());
  ASSERT_FALSE(found.differences.empty());
  EXPECT_EQ(found.differences.front().stage, Stage::k);
}

TEST_F(ContractTest, APromptAsASessionCutsItIsHeld) {
  const auto second_block = wrong(Stage::k, [](const KernelArgs& args, int64_t, int) {
    return args.block_rows == 7 && args.position == 7;
  });
  const Contract found = contract([&](PlanEdit& edit) {
    if (edit.logits() == kNoBuffer) second_block(edit);  // blocks before a prompt's last one
  });
  EXPECT_THAT(judged_.findings, IsEmpty());
  ASSERT_FALSE(found.differences.empty());
  EXPECT_EQ(found.differences.front().difference->cause, "block_edges");
}

TEST(DrawnRows, OfInnerBlocksHaveAllThatTheyAreJudgedBy) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = {{"long", "", test::random_tokens(100)}};
  request.layers = {0, 1};
  request.prefill_block = 32;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    request.drawn = {.seed = seed, .count = 2};
    const Verdict verdict = judge(record_matrix(tiny.engine, request), tiny.engine.model());
    EXPECT_EQ(verdict.coverage.judged, verdict.coverage.recorded) << seed;
    EXPECT_THAT(verdict.findings, IsEmpty()) << seed;
  }
}

TEST(Program, AMeetingAfterEachOpIsABarrierBeforeEach) {
  const test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.fast_plan(Phase::prefill, 8);
  PlanEdit edit(plan);
  meet_after(edit, [](const Op&) { return true; });
  edit.commit();
  for (const Op& op : plan.ops()) {
    if (action_of(op) != nullptr) {
      EXPECT_TRUE(op.sync);
    }
  }
}

TEST(Program, AllButTheKeptStageAreTakenApart) {
  const test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.fast_plan(Phase::prefill, 8);
  PlanEdit edit(plan);
  unfuse_but(edit, [](Stage stage) { return stage == Stage::pv; });
  edit.commit();
  for (const Op& op : plan.ops()) {
    if (std::holds_alternative<FusedCall>(op.call)) {
      EXPECT_EQ(op.makes, Stage::pv);
    }
  }
  EXPECT_EQ(plan.find({0, Stage::softmax}), nullptr);
}

}  // namespace
}  // namespace greta
