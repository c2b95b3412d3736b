#include <gtest/gtest.h>

#include "engine/plan_edit.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

int64_t count(const Plan& plan, OpKind kind) {
  return std::count_if(plan.ops().begin(), plan.ops().end(), [&](const Op& op) { return is_kind(op, kind); });
}

std::vector<std::string> kernels(const Plan& plan) {
  std::vector<std::string> names;
  for (const Op& op : plan.ops()) names.push_back(kernel_call(op)->kernel->name);
  return names;
}

/// The bits of the logits of `tokens` in one block, and of one more token.
std::vector<float> logits(Engine& engine, const Plan& block, const Plan& step,
                          std::span<const int32_t> tokens) {
  Session session(engine, 64);
  const auto first = session.forward(block, tokens);
  std::vector<float> all(first.begin(), first.end());
  const int32_t next = 5;
  const auto second = session.forward(step, std::span(&next, 1));
  all.insert(all.end(), second.begin(), second.end());
  return all;
}

TEST(FuseQuantize, ChangesNoBit) {
  for (const Isa isa : {Isa::scalar, best_isa()}) {
    for (const int threads : {1, 3}) {
      test::TinyEngine tiny(TensorType::q4_1, {threads, isa, Format::f32});
      const std::vector<int32_t> tokens = test::random_tokens(19);
      const auto plain = logits(tiny.engine, tiny.engine.plan(Phase::prefill, 32),
                                tiny.engine.plan(Phase::decode, 1), tokens);
      const auto fast = logits(tiny.engine, tiny.engine.fast_plan(Phase::prefill, 32),
                               tiny.engine.fast_plan(Phase::decode, 1), tokens);
      EXPECT_EQ(plain, fast) << name(isa) << ", " << threads << " threads";
    }
  }
}

TEST(FuseQuantize, LeavesOnlyWhatNoNormOrActivationMakes) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.fast_plan(Phase::prefill, 32);
  EXPECT_EQ(count(plan, OpKind::quantize), 2) << "of pv, in each layer";
}

TEST(FuseQuantize, KeepsWhatIsReadInF32Too) {
  test::TinyEngine tiny(TensorType::q4_1);
  RouteTable routes;
  routes.add(parse_route_rule("v=vector"));  // reads the norm itself, while q and k read its rounded form
  const Plan plan = tiny.engine.fast_plan(Phase::prefill, 32, routes);
  EXPECT_EQ(count(plan, OpKind::quantize), 4) << "of attn_norm and of pv";
}

TEST(Unfuse, PutsTheOpsBack) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plain = tiny.engine.plan(Phase::decode, 1);
  Plan plan = tiny.engine.fast_plan(Phase::decode, 1);
  EXPECT_LT(plan.ops().size(), plain.ops().size());
  for (Plan* fused : {&plain, &plan}) PlanEdit(*fused).unfuse_all();  // plain: attention
  EXPECT_EQ(kernels(plan), kernels(plain));
  for (size_t i = 0; i < plain.ops().size(); ++i) {
    EXPECT_EQ(plan.ops()[i].writes, plain.ops()[i].writes) << i;
    EXPECT_EQ(plan.ops()[i].sync, plain.ops()[i].sync) << i;
  }
}

}  // namespace
}  // namespace greta
