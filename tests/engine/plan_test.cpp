#include "engine/plan.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/plan_edit.h"
#include "engine/sampler.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::Property;
using testing::Throws;

TEST(Plan, OfAnUntracedRunHasNoRecordOp) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    const Plan plan = tiny.engine.plan(phase, phase == Phase::decode ? 1 : 32);
    for (const Op& op : plan.ops()) {
      EXPECT_EQ(action_of(op), nullptr);
      ASSERT_NE(kernel_call(op), nullptr);
      EXPECT_NE(kernel_call(op)->kernel, nullptr);
    }
  }
}

TEST(Plan, NamesEveryStageOnce) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::prefill, 32);
  EXPECT_EQ(plan.find({0, Stage::qk}), nullptr) << "attention is fused";
  PlanEdit(plan).unfuse([](At made) { return made.layer == 1; });
  EXPECT_EQ(plan.find({0, Stage::qk}), nullptr);
  EXPECT_NE(plan.find({1, Stage::qk}), nullptr);
  for (const Stage stage : {Stage::attn_norm, Stage::q, Stage::kv_write, Stage::pv, Stage::x_out}) {
    EXPECT_NE(plan.find({1, stage}), nullptr) << name(stage);
  }
  EXPECT_NE(plan.find({kNoLayer, Stage::logits}), nullptr);
}

TEST(Plan, ThatOnlyFillsTheCacheHasNoHead) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::prefill, 32, {}, false);
  EXPECT_EQ(plan.logits, kNoBuffer);
  EXPECT_EQ(plan.find({kNoLayer, Stage::final_norm}), nullptr);
}

TEST(Plan, QuantisesASharedInputOnce) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::decode, 1);
  const auto quantised = std::count_if(plan.ops().begin(), plan.ops().end(),
                                       [](const Op& op) { return is_kind(op, OpKind::quantize); });
  EXPECT_EQ(quantised, 2 * 4 + 1) << "per layer: attn_norm, pv, ffn_norm, act; and final_norm";
}

TEST(Barriers, SeparateWritersFromReaders) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::decode, 1);
  const auto op = [&](Stage stage) { return *plan.find({0, stage}); };
  EXPECT_TRUE(op(Stage::q).sync) << "reads the quantised norm";
  EXPECT_FALSE(op(Stage::k).sync) << "q, k and v do not touch each other";
  EXPECT_FALSE(op(Stage::v).sync);
  EXPECT_TRUE(op(Stage::q_rope).sync);
  EXPECT_TRUE(op(Stage::pv).sync) << "reads the cache that kv_write wrote";
}

class Noted final : public Action {
 public:
  explicit Noted(std::string label) : label_(std::move(label)) {}
  std::string label() const override { return label_; }
  void run(const KernelArgs&, Part) override {}

 private:
  std::string label_;
};

/// The labels of a plan's actions, in order.
std::vector<std::string> actions(const Plan& plan) {
  std::vector<std::string> labels;
  for (const Op& op : plan.ops()) {
    if (const Action* action = action_of(op)) labels.push_back(action->label());
  }
  return labels;
}

TEST(PlanEdit, NumbersTheOpsByTheirPlace) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::decode, 1);
  {
    PlanEdit edit(plan);
    edit.watch(*edit.find({0, Stage::up}), std::make_shared<Noted>("looks"));
    edit.unfuse_all();
  }
  for (size_t i = 0; i < plan.ops().size(); ++i) EXPECT_EQ(plan.ops()[i].id, static_cast<int>(i));
  const Op& up = *plan.find({0, Stage::up});
  const Op& look = plan.ops()[static_cast<size_t>(up.id) + 1];
  EXPECT_EQ(std::get<ActionCall>(look.call).watches, up.id);
  EXPECT_EQ(look.reads, std::vector{up.writes});
  EXPECT_FALSE(look.made()) << "who looks on makes no stage";
}

TEST(PlanEdit, WhatLooksOnComesAfterWhatOverwritesWhicheverCameFirst) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::decode, 1);
  for (const Stage stage : {Stage::up, Stage::kv_write}) {
    PlanEdit edit(plan);
    const Op& op = *edit.find({0, stage});
    const auto overwrite = [&](const char* label) {
      edit.after(op, {.layer = op.layer,
                      .call = ActionCall{std::make_shared<Noted>(label)},
                      .writes = op.writes,
                      .cache = op.cache});
    };
    overwrite("first");
    edit.watch(op, std::make_shared<Noted>("looks"));
    overwrite("later");
    edit.watch(op, std::make_shared<Noted>("looks too"));
  }
  const std::vector<std::string> once{"later", "first", "looks too", "looks"};
  std::vector<std::string> twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  EXPECT_EQ(actions(plan), twice);
}

TEST(PlanEdit, WhatWatchesAFusedOpWatchesThePartThatMakesTheStage) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::decode, 1);
  {
    PlanEdit edit(plan);
    edit.watch(*edit.find({1, Stage::pv}), std::make_shared<Noted>("looks"));
  }
  PlanEdit(plan).unfuse([](At made) { return made == At{1, Stage::qk}; });
  EXPECT_EQ(plan.find({0, Stage::qk}), nullptr);
  const Op& pv = *plan.find({1, Stage::pv});
  EXPECT_TRUE(std::holds_alternative<KernelCall>(pv.call));
  EXPECT_EQ(std::get<ActionCall>(plan.ops()[static_cast<size_t>(pv.id) + 1].call).watches, pv.id);
}

TEST(PlanEdit, LeavesAPlanThatRunsWhenItIsBrokenOff) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::decode, 1);
  const size_t ops = plan.ops().size();
  try {
    PlanEdit edit(plan);
    edit.watch(*edit.find({0, Stage::up}), std::make_shared<Noted>("looks"));
    fail_input("broken off");
  } catch (const Error&) {
  }
  EXPECT_EQ(plan.ops().size(), ops + 1);
  Session session(tiny.engine, 16);
  const int32_t token = 3;
  EXPECT_EQ(std::ssize(session.forward(plan, std::span(&token, 1))), tiny.engine.model().config.n_vocab);
}

TEST(Session, RefusesWhatDoesNotFit) {
  test::TinyEngine tiny(TensorType::q4_1);
  EXPECT_THAT([&] { Session(tiny.engine, 1025); },
              Throws<Error>(Property(&Error::what, HasSubstr("context"))));
  Session session(tiny.engine, 16);
  const Plan plan = tiny.engine.plan(Phase::prefill, 32);
  const std::vector<int32_t> outside{3, 80};
  EXPECT_THAT([&] { session.forward(plan, outside); },
              Throws<Error>(Property(&Error::what, HasSubstr("token id 80"))));
  const std::vector<int32_t> many(17, 1);
  EXPECT_THAT([&] { session.forward(plan, many); },
              Throws<Error>(Property(&Error::what, HasSubstr("KV cache"))));
}

TEST(Sampler, GreedyTakesTheFirstOfEqualLogits) {
  const std::vector<float> logits{1, 5, 5, 2};
  EXPECT_EQ(Sampler(0, 1).next(logits), 1);
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits{1, 1.5f, 0.5f, 1};
  Sampler a(1, 42), b(1, 42), c(1, 43);
  std::vector<int32_t> from_a, from_b, from_c;
  for (int i = 0; i < 50; ++i) {
    from_a.push_back(a.next(logits));
    from_b.push_back(b.next(logits));
    from_c.push_back(c.next(logits));
  }
  EXPECT_EQ(from_a, from_b);
  EXPECT_NE(from_a, from_c);
}

}  // namespace
}  // namespace greta
