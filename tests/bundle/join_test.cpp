// Stages recorded in several events: joined by position, or refused by name.

#include "bundle/join.h"

#include <gmock/gmock.h>

#include <limits>

#include "base/error.h"
#include "io/testing.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

Event event_of(const std::string& stage, std::vector<int64_t> positions, std::vector<int64_t> shape,
               const std::string& kernel = "k") {
  Event event;
  event.cell = "E0/p", event.experiment = "E0", event.prompt_id = "p";
  event.phase = kPrefill, event.layer = 0, event.stage = stage, event.kernel = kernel;
  event.positions = std::move(positions);
  event.shape = std::move(shape);
  return event;
}

TEST(Join, RowsComeTogetherByPosition) {
  Bundle bundle;
  bundle.add(event_of("q", {2, 3}, {2, 2}), {5, 6, 7, 8});
  bundle.add(event_of("k", {0, 3}, {4, 1}), {1, 2, 3, 4});
  bundle.add(event_of("q", {0, 1}, {2, 2}), {1, 2, 3, 4});
  const Bundle whole = joined(std::move(bundle));
  ASSERT_EQ(whole.events.size(), 2u);
  EXPECT_EQ(whole.events[0].stage, "q") << "at the place of the first";
  EXPECT_THAT(whole.events[0].positions, ElementsAre(0, 3));
  EXPECT_THAT(whole.events[0].shape, ElementsAre(4, 2));
  EXPECT_THAT(*whole.data(whole.events[0]), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

TEST(Join, ScoresOfFewerPositionsAreFilledUp) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  for (const auto& [stage, filling] : {std::pair{"qk", kMasked}, std::pair{"softmax", 0.0f}}) {
    Bundle bundle;
    bundle.add(event_of(stage, {0, 0}, {1, 2, 1}), {1, 2});
    bundle.add(event_of(stage, {1, 1}, {1, 2, 2}), {3, 4, 5, 6});
    const Bundle whole = joined(std::move(bundle));
    ASSERT_EQ(whole.events.size(), 1u);
    EXPECT_THAT(whole.events[0].shape, ElementsAre(2, 2, 2));
    EXPECT_THAT(*whole.data(whole.events[0]), ElementsAre(1, filling, 2, filling, 3, 4, 5, 6));
  }
}

TEST(Join, WhatIsThereTwiceCountsOnce) {
  Bundle bundle;
  bundle.add(event_of("q", {0, 1}, {2, 1}), {1, 2});
  bundle.add(event_of("q", {0, 1}, {2, 1}), {1, 2});
  bundle.add(event_of("q", {1, 2}, {2, 1}), {2, 3});
  const Bundle whole = joined(std::move(bundle));
  ASSERT_EQ(whole.events.size(), 1u);
  EXPECT_THAT(*whole.data(whole.events[0]), ElementsAre(1, 2, 3));
}

TEST(Join, WhatIsNotOneIsRefused) {
  const auto refusal = [](Event other, std::vector<float> values) {
    Bundle bundle;
    bundle.add(event_of("q", {0, 1}, {2, 1}), {1, 2});
    bundle.add(std::move(other), std::move(values));
    return message_of([&] { joined(bundle); });
  };
  EXPECT_THAT(refusal(event_of("q", {1, 2}, {2, 1}), {9, 3}), HasSubstr("two different rows at position 1"));
  EXPECT_THAT(refusal(event_of("q", {2, 3}, {2, 1}, "other"), {1, 2}), HasSubstr("kernels k and other"));
  EXPECT_THAT(refusal(event_of("q", {2, 3}, {2, 2}), {1, 2, 3, 4}), HasSubstr("different widths"));
  Event hashed = event_of("q", {2, 3}, {2, 1});
  hashed.hash = "00";
  Bundle bundle;
  bundle.add(event_of("q", {0, 1}, {2, 1}), {1, 2});
  bundle.events.push_back(hashed);
  EXPECT_THAT(message_of([&] { joined(bundle); }), HasSubstr("E0/p prefill L0 q"));
}

// A shape of no rows may claim any width.
TEST(Join, AShapeWithoutRowsFillsNothing) {
  Bundle bundle;
  bundle.add(event_of("qk", {0, 0}, {1, 2, 1}), {1, 2});
  bundle.events.push_back(event_of("qk", {5, 4}, {0, 2, int64_t{1} << 40}));
  bundle.events.back().hash = "00";
  message_of([&] { joined(bundle); });
}

}  // namespace
}  // namespace greta
