// Runs held against each other: where they first differ, and that a lost count is seen.

#include "experiment/snapshot.h"

#include <gmock/gmock.h>

#include "engine/tiny_model.h"

namespace greta {
namespace {

using testing::ElementsAre;

Snapshot snapshot(int64_t first, int64_t length, float value) {
  Snapshot made;
  made.first = first;
  made.length = length;
  made.cache = {std::vector<float>(static_cast<size_t>((length - first) * 4), value)};
  return made;
}

TEST(Snapshot, OnlyPositionsThatBothHaveAreCompared) {
  const Snapshot whole = snapshot(0, 8, 1);
  Snapshot part = snapshot(5, 12, 1);
  EXPECT_FALSE(first_deviation(whole, part));
  part.cache[0].back() = 2;  // position 11
  EXPECT_FALSE(first_deviation(whole, part));
  part.cache[0][4 * 2 + 3] = 2;  // position 7, the value's second element
  const auto first = first_deviation(whole, part);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->position, 7);
  EXPECT_EQ(first->what, "value");
  EXPECT_EQ(first->element, 1);
  EXPECT_THAT(deviating_positions(whole, part, 0), ElementsAre(7));
}

TEST(Snapshot, ALayerThatOneDoesNotKnowIsNoDifference) {
  Snapshot unknown = snapshot(0, 8, 1);
  unknown.cache[0].clear();
  EXPECT_FALSE(first_deviation(unknown, snapshot(0, 8, 2)));
}

TEST(Snapshot, ALostCountComesFirst) {
  test::TinyEngine tiny(TensorType::q4_1);
  KvCache cache(tiny.engine.model().config, 32, Format::f32);
  cache.set_length(7);
  EXPECT_FALSE(lost_count(cache, 7));
  Snapshot lost = snapshot(0, 8, 1);
  lost.lost = lost_count(cache, 8);
  ASSERT_TRUE(lost.lost);
  EXPECT_EQ(first_deviation(snapshot(0, 8, 2), lost)->what, "cache length");
}

TEST(Snapshot, WhatIsWrittenBackIsWhatWasRead) {
  test::TinyEngine tiny(TensorType::q4_1);
  Runner runner(tiny.engine, tiny.engine.pool(), 8);
  Snapshot before, after;
  ASSERT_TRUE(runner.forward(tiny.engine.plan(Phase::prefill, 8), test::random_tokens(8), before));
  runner.read(before);
  runner.cache().truncate(3);
  write_cache_from(before, 8, runner.cache());
  runner.read(after);
  EXPECT_FALSE(first_deviation(before, after));
}

}  // namespace
}  // namespace greta
