#include "engine/plan.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/sampler.h"
#include "engine/tiny_model.h"
#include "engine/transform.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::Property;
using testing::Throws;

TEST(Plan, OfAnUntracedRunHasNoRecordOp) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    const Plan plan = tiny.engine.plan(phase, phase == Phase::decode ? 1 : 32);
    for (const Op& op : plan.ops) {
      EXPECT_EQ(op.action, nullptr);
      EXPECT_NE(op.kernel, nullptr);
    }
  }
}

TEST(Plan, NamesEveryStageOnce) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::prefill, 32);
  EXPECT_EQ(plan.find(Stage::qk, 0), -1) << "attention is fused";
  unfuse_attention(plan, tiny.engine.options().isa, [](int layer) { return layer == 1; });
  EXPECT_EQ(plan.find(Stage::qk, 0), -1);
  EXPECT_GE(plan.find(Stage::qk, 1), 0);
  for (const Stage stage : {Stage::attn_norm, Stage::q, Stage::kv_write, Stage::pv, Stage::x_out}) {
    EXPECT_GE(plan.find(stage, 1), 0) << name(stage);
  }
  EXPECT_GE(plan.find(Stage::logits, kNoLayer), 0);
}

TEST(Plan, ThatOnlyFillsTheCacheHasNoHead) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::prefill, 32, {}, false);
  EXPECT_EQ(plan.logits, kNoBuffer);
  EXPECT_EQ(plan.find(Stage::final_norm, kNoLayer), -1);
}

TEST(Plan, QuantisesASharedInputOnce) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::decode, 1);
  const auto quantised = std::count_if(plan.ops.begin(), plan.ops.end(),
                                       [](const Op& op) { return op.kind == OpKind::quantize; });
  EXPECT_EQ(quantised, 2 * 4 + 1) << "per layer: attn_norm, pv, ffn_norm, act; and final_norm";
}

TEST(Barriers, SeparateWritersFromReaders) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.plan(Phase::decode, 1);
  const auto op = [&](Stage stage) { return plan.ops[static_cast<size_t>(plan.find(stage, 0))]; };
  EXPECT_TRUE(op(Stage::q).sync) << "reads the quantised norm";
  EXPECT_FALSE(op(Stage::k).sync) << "q, k and v do not touch each other";
  EXPECT_FALSE(op(Stage::v).sync);
  EXPECT_TRUE(op(Stage::q_rope).sync);
  EXPECT_TRUE(op(Stage::pv).sync) << "reads the cache that kv_write wrote";
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
