// No meeting that a plan has may go, and none is missing.

#include "experiment/meetings.h"

#include <gmock/gmock.h>

#include "engine/tiny_model.h"
#include "experiment/run_cause.h"

namespace greta {
namespace {

using testing::HasSubstr;

std::vector<Plan> production_plans(const Engine& engine) {
  std::vector<Plan> plans;
  for (const int64_t rows : {1, 2, 37}) plans.push_back(engine.fast_plan(Phase::prefill, rows));
  plans.push_back(engine.fast_plan(Phase::decode, 1));
  return plans;
}

TEST(Meetings, NoneIsMissingInWhatTheEngineRuns) {
  const test::TinyEngine tiny(TensorType::q4_1);
  for (const Plan& plan : production_plans(tiny.engine)) EXPECT_FALSE(first_unmet(plan.ops()));
}

TEST(Meetings, EachOfThemIsNeeded) {
  const test::TinyEngine tiny(TensorType::q4_1);
  for (const Plan& plan : production_plans(tiny.engine)) {
    int meetings = 0;
    for (size_t i = 0; i < plan.ops().size(); ++i) {
      if (!plan.ops()[i].sync) continue;
      ++meetings;
      std::vector<Op> ops = plan.ops();
      ops[i].sync = false;
      const auto unmet = first_unmet(ops);
      ASSERT_TRUE(unmet) << i;
      EXPECT_GE(unmet->later->id, ops[i].id);
      EXPECT_LT(unmet->earlier->id, ops[i].id);
    }
    EXPECT_GT(meetings, 10);
  }
}

/// Ops of a plan that is none: what they read and write is all that matters.
Op op(int id, std::vector<BufferId> reads, BufferId writes, CacheUse cache = CacheUse::none, int layer = 0) {
  return {
      .id = id, .layer = layer, .reads = std::move(reads), .writes = writes, .cache = cache, .sync = false};
}

TEST(Meetings, EveryOrderOfTwoThatClashIsTold) {
  using enum Unmet::Order;
  const struct {
    Op earlier, later;
    Unmet::Order order;
    BufferId buffer;
  } cases[] = {
      {op(0, {1}, 2), op(1, {2}, 3), read_after_write, 2},
      {op(0, {1}, 2), op(1, {3}, 1), write_after_read, 1},
      {op(0, {1}, 2), op(1, {3}, 2), write_after_write, 2},
      {op(0, {1}, kNoBuffer, CacheUse::writes), op(1, {2}, 3, CacheUse::reads), read_after_write, kNoBuffer},
      {op(0, {1}, 4, CacheUse::reads), op(1, {2}, kNoBuffer, CacheUse::writes), write_after_read, kNoBuffer}};
  for (const auto& each : cases) {
    const std::vector<Op> ops{each.earlier, op(7, {8}, 9), each.later};
    const auto unmet = first_unmet(ops);
    ASSERT_TRUE(unmet);
    EXPECT_EQ(unmet->order, each.order);
    EXPECT_EQ(unmet->buffer, each.buffer);
    for (const size_t met : {1u, 2u}) {
      std::vector<Op> apart = ops;
      apart[met].sync = true;
      EXPECT_FALSE(first_unmet(apart));
    }
  }
}

TEST(Meetings, CachesOfOtherLayersDoNotClash) {
  const std::vector<Op> ops{op(0, {1}, kNoBuffer, CacheUse::writes, 0), op(1, {2}, 3, CacheUse::reads, 1)};
  EXPECT_FALSE(first_unmet(ops));
}

TEST(Meetings, AFindingSaysWhichOpsAndWhatTheyShare) {
  const test::TinyEngine tiny(TensorType::q4_1);
  const Plan plan = tiny.engine.fast_plan(Phase::decode, 1);
  std::vector<Op> ops = plan.ops();
  const auto attention =
      std::find_if(ops.begin(), ops.end(), [](const Op& each) { return each.makes == Stage::pv; });
  ASSERT_NE(attention, ops.end());
  attention->sync = false;
  const auto unmet = first_unmet(ops);
  ASSERT_TRUE(unmet);
  const Finding finding = unmet_finding(plan, *unmet);
  EXPECT_EQ(finding.hypothesis(), name(RunCause::missing_barrier));
  EXPECT_EQ(finding.stage, Stage::pv);
  EXPECT_EQ(finding.layer, 0);
  EXPECT_EQ(name(finding.phase), "decode");
  EXPECT_THAT(finding.title.en, HasSubstr("pv may read what"));
}

}  // namespace
}  // namespace greta
