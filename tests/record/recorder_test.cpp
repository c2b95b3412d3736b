// Record ops see what the ops left, and leave a plan that computes the same.

#include "record/recorder.h"

#include <gmock/gmock.h>

#include <map>

#include "engine/tiny_model.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Record {
  Event event;
  std::vector<float> values;
};

constexpr int64_t kTokens = 21;

RecordScope everything() {
  return {.layers = [](int) { return true; }};
}

void watch(Plan& plan, Recorder& recorder, const RecordScope& scope) {
  PlanEdit edit(plan);
  insert_records(edit, recorder, scope);
}

/// What a prefill of 21 tokens in one block records, in order.
std::vector<Record> prefill(test::TinyEngine& tiny, const RecordScope& scope) {
  std::vector<Record> records;
  Recorder recorder([&](Event event, std::vector<float> values) {
    records.push_back({std::move(event), std::move(values)});
  });
  Recorder watching = recorder;
  Plan plan = tiny.engine.fast_plan(Phase::prefill, kTokens);
  watch(plan, watching, scope);
  Session(tiny.engine, kTokens).forward(plan, test::random_tokens(kTokens));
  return records;
}

const Record& find(const std::vector<Record>& records, Stage stage, int layer) {
  for (const Record& record : records) {
    if (record.event.stage == name(stage) && record.event.layer == layer) return record;
  }
  throw std::runtime_error("not recorded: " + std::string(name(stage)));
}

TEST(Recorder, EveryStageOnceInExecutionOrder) {
  test::TinyEngine tiny(TensorType::q4_1);
  std::vector<std::string> layer0;
  const std::vector<Record> records = prefill(tiny, everything());
  for (const Record& record : records) {
    if (record.event.layer == 0) layer0.push_back(record.event.stage);
  }
  EXPECT_THAT(layer0,
              ElementsAre("x_in", "attn_norm", "q", "k", "v", "q_rope", "k_rope", "kv_write", "qk", "softmax",
                          "pv", "attn_out", "x_attn", "ffn_norm", "gate", "up", "act", "down", "x_out"));
  EXPECT_EQ(records.back().event.stage, "logits");
  EXPECT_EQ(records.back().event.layer, kNoLayer);
}

TEST(Recorder, ShapesAndPositionsAreThoseOfTheStage) {
  test::TinyEngine tiny(TensorType::q4_1);
  const ModelConfig& config = tiny.engine.model().config;
  const std::vector<Record> records = prefill(tiny, everything());
  for (const Record& record : records) {
    int64_t count = 1;
    for (const int64_t extent : record.event.shape) count *= extent;
    EXPECT_EQ(count, std::ssize(record.values)) << record.event.stage;
  }
  const Event& q = find(records, Stage::q, 1).event;
  EXPECT_THAT(q.shape, ElementsAre(1, config.n_head * config.head_dim));
  EXPECT_THAT(q.positions, ElementsAre(kTokens - 1, kTokens - 1));  // by default the last row
  const Event& cache = find(records, Stage::kv_write, 1).event;
  EXPECT_THAT(cache.shape, ElementsAre(kTokens, 2 * config.n_head_kv * config.head_dim));
  EXPECT_THAT(cache.positions, ElementsAre(0, kTokens - 1));
  EXPECT_THAT(find(records, Stage::softmax, 0).event.shape, ElementsAre(1, config.n_head, kTokens));
}

TEST(Recorder, SaysWhichKernelRanByItsOwnWord) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<Record> records = prefill(tiny, everything());
  const Event& q = find(records, Stage::q, 0).event;
  const Plan plan = tiny.engine.plan(Phase::prefill, kTokens);
  EXPECT_EQ(q.kernel, kernel_call(*plan.find({0, Stage::q}))->kernel->name);
  EXPECT_EQ(q.route, "matrix");
  EXPECT_EQ(q.launches, 1u);
  EXPECT_EQ(find(records, Stage::attn_norm, 0).event.route, "");  // no projection
}

TEST(Recorder, RowsAndStagesOutsideTheScopeAreLeftOut) {
  test::TinyEngine tiny(TensorType::q4_1);
  RecordScope scope{.layers = [](int layer) { return layer == 1; },
                    .stages = [](Stage stage) { return stage == Stage::k || stage == Stage::logits; },
                    .rows =
                        [](Stage, int64_t) {
                          return std::vector<int64_t>{0, 2, 3, 99};
                        }};
  const std::vector<Record> records = prefill(tiny, scope);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].event.stage, "k");
  EXPECT_THAT(records[0].event.positions, ElementsAre(0, 2, 3));
  scope.rows = [](Stage, int64_t) { return std::vector<int64_t>{}; };
  EXPECT_THAT(prefill(tiny, scope), IsEmpty());  // nothing to say is no event
}

TEST(Recorder, ARowIsTheSameAloneAndAmongOthers) {
  test::TinyEngine tiny(TensorType::q8_0);
  RecordScope rows = everything();
  rows.rows = [](Stage, int64_t) { return std::vector<int64_t>{3, 7, kTokens - 1}; };
  const std::vector<Record> three = prefill(tiny, rows), last = prefill(tiny, everything());
  for (const Stage stage : {Stage::q, Stage::qk, Stage::act}) {
    const std::vector<float>&all = find(three, stage, 1).values, &alone = find(last, stage, 1).values;
    ASSERT_EQ(all.size(), 3 * alone.size());
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + 2 * std::ssize(alone))) << name(stage);
  }
}

TEST(Recorder, TwoRowsThatAreNoNeighboursDoNotReadAsARange) {
  test::TinyEngine tiny(TensorType::q4_1);
  const auto q_of = [&](std::vector<int64_t> wanted) {
    RecordScope scope{.layers = [](int layer) { return layer == 1; },
                      .stages = [](Stage stage) { return stage == Stage::q; },
                      .rows = [&](Stage, int64_t) { return wanted; }};
    return prefill(tiny, scope);
  };
  const std::vector<Record> apart = q_of({3, 9}), together = q_of({3, 4, 9}), pair = q_of({3, 4});
  ASSERT_EQ(apart.size(), 2u);  // an event each
  EXPECT_THAT(positions_of(apart[0].event), ElementsAre(3));
  EXPECT_THAT(positions_of(apart[1].event), ElementsAre(9));
  ASSERT_EQ(together.size(), 1u);
  const std::vector<float>& rows = together[0].values;
  const auto width = std::ssize(apart[0].values);
  EXPECT_TRUE(std::equal(apart[0].values.begin(), apart[0].values.end(), rows.begin()));
  EXPECT_TRUE(std::equal(apart[1].values.begin(), apart[1].values.end(), rows.begin() + 2 * width));
  ASSERT_EQ(pair.size(), 1u);
  EXPECT_THAT(positions_of(pair[0].event), ElementsAre(3, 4));
}

TEST(Recorder, RecordingChangesNoBit) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<int32_t> tokens = test::random_tokens(kTokens);
  Session plain(tiny.engine, kTokens);
  const std::span<const float> logits = plain.forward(tiny.engine.fast_plan(Phase::prefill, kTokens), tokens);
  const std::vector<float> expected(logits.begin(), logits.end());
  EXPECT_EQ(find(prefill(tiny, everything()), Stage::logits, kNoLayer).values, expected);
}

TEST(Recorder, SeveralMayWatchOnePlan) {
  test::TinyEngine tiny(TensorType::q4_1);
  std::map<std::string, int> seen;
  const Recorder::Sink sink = [&](const Event& event, const std::vector<float>&) { ++seen[event.phase]; };
  Recorder last(sink, kPrefillLast), rows(sink, kPrefill);
  Plan plan = tiny.engine.plan(Phase::prefill, kTokens);
  watch(plan, last, everything());
  watch(plan, rows, everything());
  Session(tiny.engine, kTokens).forward(plan, test::random_tokens(kTokens));
  EXPECT_EQ(seen[kPrefill], seen[kPrefillLast]);
  EXPECT_EQ(seen[kPrefill], 2 * 19 + 2);
}

TEST(Recorder, WhatTheSinkThrowsEndsTheRun) {
  test::TinyEngine tiny(TensorType::q4_1);
  Recorder full([](Event, std::vector<float>) { throw std::runtime_error("no space left"); });
  Plan plan = tiny.engine.plan(Phase::prefill, kTokens);
  watch(plan, full, everything());
  Session session(tiny.engine, kTokens);
  EXPECT_THROW(session.forward(plan, test::random_tokens(kTokens)), std::runtime_error);
}

}  // namespace
}  // namespace greta
