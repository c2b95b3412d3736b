// What ops read as they began, by the recording's own word, against what their producers left: bugs of the
// plan are named without supposing any computation.

#include "judge/seen_operands.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "kernels/block_code.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Property;
using testing::SizeIs;

Verdict judged(const PlanChange& change) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  request.change = change;
  return judge(record_matrix(tiny.engine, request), tiny.engine.model());
}

Verdict judged(std::function<void(PlanEdit&)> edit) { return judged(PlanChange{.edit = std::move(edit)}); }

/// Adds `step` to what an op left, between its record and who reads it.
class Nudge final : public Action {
 public:
  explicit Nudge(float step) : step_(step) {}
  std::string label() const override { return "nudge"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t row = 0; row < args.out.rows; ++row) args.out.row(row)[1] += step_;
  }

 private:
  float step_;
};

/// Before `reader` of layer 1, in what `victim` left.
void nudge(PlanEdit& edit, Stage victim, Stage reader, float step) {
  edit.unfuse_all();
  const Op* made = edit.find({1, victim});
  const Op* read = edit.find({1, reader});
  ASSERT_TRUE(made != nullptr && read != nullptr);
  edit.before(*read, {.layer = 1, .call = ActionCall{std::make_shared<Nudge>(step)}, .writes = made->writes});
}

struct PlanBug {
  const char* label;
  std::function<void(PlanEdit&)> edit;
  Stage stage;
  const char* says;
};

const std::vector<PlanBug>& plan_bugs() {
  static const std::vector<PlanBug> bugs{
      {"StaleRoundedForm",
       [](PlanEdit& edit) {
         const Op* last = edit.find({0, Stage::x_out});
         const BufferId rounded = edit.find({1, Stage::gate})->reads[0];
         bool after = false;
         edit.keep_only([&](const Op& op) {
           after = after || &op == last;
           return !(after && op.writes == rounded && !op.makes);
         });
       },
       Stage::gate, "ffn_norm of layer 0 in the place of ffn_norm (in q8_block32)"},
      {"BufferOfAnother",
       [](PlanEdit& edit) {
         edit.find({1, Stage::act})->reads[0] = edit.find({1, Stage::up})->writes;
       },
       Stage::act, "up of layer 1 in the place of gate"},
      {"OperandsExchanged",
       [](PlanEdit& edit) {
         Op& op = *edit.find({1, Stage::act});
         std::swap(op.reads[0], op.reads[1]);
       },
       Stage::act, "up of layer 1 in the place of gate, gate of layer 1 in the place of up"},
      {"ReadBeforeItIsWritten",
       [](PlanEdit& edit) {
         std::list<Op>& ops = edit.ops();
         const auto at = [&](Stage stage) {
           return std::ranges::find_if(ops, [&](const Op& op) { return op.made() == At{1, stage}; });
         };
         ops.splice(std::next(at(Stage::pv)), ops, at(Stage::kv_write));
       },
       Stage::qk, "zeros in the place of kv_write"},
      {"OverwrittenBetween", [](PlanEdit& edit) { nudge(edit, Stage::q_rope, Stage::qk, 1); }, Stage::qk,
       "rows that differ in "},
  };
  return bugs;
}

class PlanBugTest : public testing::TestWithParam<PlanBug> {};

TEST_P(PlanBugTest, IsNamedByWhatWasRead) {
  const PlanBug& bug = GetParam();
  const Verdict verdict = judged(bug.edit);
  EXPECT_EQ(verdict.status, RunStatus::fault);
  EXPECT_THAT(verdict.findings,
              Contains(AllOf(Field(&Finding::layer, 1), Field(&Finding::stage, bug.stage),
                             Property(&Finding::hypothesis, "operand_read"),
                             Field(&Finding::title, Field(&Text::en, HasSubstr(bug.says))))));
  EXPECT_THAT(verdict.findings, Each(Property(&Finding::hypothesis, "operand_read")));
}

INSTANTIATE_TEST_SUITE_P(All, PlanBugTest, testing::ValuesIn(plan_bugs()),
                         [](const auto& test) { return std::string(test.param.label); });

/// Cuts the codes of rounded rows at 100 of 127.
class Clipped final : public Action {
 public:
  std::string label() const override { return "clipped"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t row = 0; row < args.out.rows; ++row) {
      for (int64_t i = 0; i < args.out.cols / kBlock; ++i) clip(args.out.row<ActivationBlock>(row)[i]);
    }
  }

 private:
  static void clip(ActivationBlock& block) {
    for (int8_t& code : block.q) code = std::clamp<int8_t>(code, -100, 100);
    block.sum_low = std::accumulate(block.q, block.q + 16, 0);
    block.sum = std::accumulate(block.q + 16, block.q + 32, block.sum_low);
    block.s = block.d * static_cast<float>(block.sum);
  }
};

/// Such rows are near what was recorded: they are no other's, and no buffer was reused.
TEST(SeenOperands, RowsThatAreRoundedByAnotherRuleAreToldAsThat) {
  const Verdict verdict = judged([](PlanEdit& edit) {
    edit.unfuse_all();
    const Op* gate = edit.find({1, Stage::gate});
    edit.before(*gate,
                {.layer = 1, .call = ActionCall{std::make_shared<Clipped>()}, .writes = gate->reads[0]});
  });
  EXPECT_THAT(verdict.findings, Contains(Field(&Finding::stage, Stage::gate)));
  for (const Finding& finding : verdict.findings) {
    EXPECT_EQ(finding.hypothesis(), "undeclared_rounding");
    EXPECT_THAT(finding.title.en, HasSubstr("ffn_norm is rounded to q8_block32 by another rule"));
  }
}

/// A kernel that is wrong reads what it ought to.
TEST(SeenOperands, AKernelsFaultIsNotTheirs) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const char* fault : {"wq_column_major", "attn_norm_is_ffn_norm", "wk_is_wv"}) {
    const Verdict verdict =
        judged(fault_change(tiny.engine, parse_faults(std::vector<std::string>{fault}, 2)));
    EXPECT_THAT(verdict.findings, Not(IsEmpty())) << fault;
    EXPECT_THAT(verdict.findings, Each(Property(&Finding::hypothesis, Not("operand_read")))) << fault;
  }
}

/// 2^-24 of an element is within any bound: the stage is right, and yet read what nobody recorded.
TEST(SeenOperands, RowsThatChangedTooLittleToMatterAreSaid) {
  const Verdict verdict = judged([](PlanEdit& edit) { nudge(edit, Stage::q_rope, Stage::qk, 6e-8f); });
  EXPECT_EQ(verdict.status, RunStatus::harness_suspect);
  EXPECT_THAT(verdict.flags, Contains(Field(&Flag::why, HasSubstr("other rows of q_rope"))));
}

TEST(SeenOperands, OfACleanRunAllWereReadInEveryForm) {
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::bf16, TensorType::q4_1,
                                TensorType::q8_0, TensorType::q4_k}) {
    for (const Format cache : {Format::f32, Format::f16, Format::q8_0}) {
      test::TinyEngine tiny(type, {.threads = 2, .isa = best_isa(), .kv_format = cache});
      if (!KvCache::can_hold(tiny.engine.model().config, cache)) continue;
      MatrixRequest request;
      request.experiments = parse_experiments("E0,E1");
      request.prompts = {{"many", "", test::random_tokens(40)}};
      request.layers = {0, 1};
      const Bundle bundle = record_matrix(tiny.engine, request);
      size_t seen = 0;
      for (const Event& event : bundle.events) {
        EXPECT_NE(event.stage, "") << event.name << " " << name(type);  // no rows that nobody left
        seen += event.operands.size();
      }
      EXPECT_GT(seen, bundle.events.size() * 9 / 10);
    }
  }
}

}  // namespace
}  // namespace greta
