// A conviction recorded once more: a race is told, and what repeats keeps its name.

#include "experiment/repeat.h"

#include <gmock/gmock.h>

#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::Each;
using testing::Eq;
using testing::IsEmpty;
using testing::Not;
using testing::Property;

/// After attn_out of layer 1, in every row: 1 + so much per run.
class Drift final : public Action {
 public:
  explicit Drift(float per_run) : per_run_(per_run) {}
  std::string label() const override { return "drift"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t row = 0; row < args.out.rows; ++row)
      args.out.row(row)[3] += 1 + per_run_ * static_cast<float>(runs_);
    ++runs_;
  }

 private:
  float per_run_;
  int runs_ = 0;
};

PlanChange drift(float per_run) {
  return {.edit = [action = std::make_shared<Drift>(per_run)](PlanEdit& edit) {
    const Op* op = edit.find({1, Stage::attn_out});
    edit.after(*op, {.layer = 1, .call = ActionCall{action}, .writes = op->writes});
  }};
}

std::vector<Finding> held(test::TinyEngine& tiny, const PlanChange& change) {
  MatrixRequest request;
  request.experiments = parse_experiments("E0,E1");
  request.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  request.change = change;
  const Bundle bundle = record_matrix(tiny.engine, request);
  std::vector<Finding> findings = judge(bundle, tiny.engine.model()).findings;
  return hold_against_repetition(tiny.engine, request, bundle, std::move(findings), [] {});
}

TEST(Repeat, WhatDoesNotRepeatIsToldFirst) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<Finding> findings = held(tiny, drift(0.25f));
  ASSERT_THAT(findings, Not(IsEmpty()));
  EXPECT_FALSE(is_repeatable(findings));
  EXPECT_EQ(findings.front().hypothesis(), "not_repeatable");
  EXPECT_EQ(findings.front().stage, Stage::attn_out);
  EXPECT_EQ(findings.front().layer, 1);
  EXPECT_THAT(std::vector(findings.begin() + 1, findings.end()),
              Each(Property(&Finding::hypothesis, Eq("unexplained"))));
}

/// As Drift, but for threads that have just met.
class Hasty final : public Action {
 public:
  std::string label() const override { return "hasty"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index == 0) args.out.row(0)[3] += 1;
  }
};

TEST(Repeat, WhatGoesWithAMeetingIsABarrierThatIsMissing) {
  test::TinyEngine tiny(TensorType::q4_1);
  const PlanChange hasty{.edit = [](PlanEdit& edit) {
    const Op* op = edit.find({1, Stage::attn_out});
    edit.after(*op, {.layer = 1, .call = ActionCall{std::make_shared<Hasty>()}, .writes = op->writes});
  }};
  const PlanChange unless_met{.edit = [&](PlanEdit& edit) {
    if (std::ranges::count_if(edit.ops(), [](const Op& op) { return action_of(op) != nullptr; }) < 20)
      hasty.edit(edit);
  }};
  EXPECT_TRUE(is_repeatable(held(tiny, hasty)));
  const std::vector<Finding> findings = held(tiny, unless_met);
  ASSERT_THAT(findings, Not(IsEmpty()));
  EXPECT_FALSE(is_repeatable(findings));
  EXPECT_EQ(findings.front().hypothesis(), "missing_barrier");
}

TEST(Repeat, WhatRepeatsStaysAsItIs) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<Finding> steady = held(tiny, drift(0));
  ASSERT_THAT(steady, Not(IsEmpty()));
  EXPECT_TRUE(is_repeatable(steady));
  const std::vector<Finding> fault =
      held(tiny, fault_change(tiny.engine, parse_faults(std::vector<std::string>{"wk_is_wv"}, 2)));
  ASSERT_THAT(fault, Not(IsEmpty()));
  EXPECT_TRUE(is_repeatable(fault));
  EXPECT_EQ(fault.front().hypothesis(), "swapped_weight");
}

TEST(Repeat, NothingIsRunWhereNothingWasConvicted) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request;
  bool run = false;
  EXPECT_THAT(hold_against_repetition(tiny.engine, request, {}, {}, [&] { run = true; }), IsEmpty());
  EXPECT_FALSE(run);
}

}  // namespace
}  // namespace greta
