// What tells wrong recordings from right ones. Nothing is computed: no tolerance.

#include "judge/factors.h"

#include <gmock/gmock.h>

namespace greta {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

Trialled trial(Stage stage, const char* kernel, const char* type, const char* s, bool wrong) {
  return {stage, {{"kernel", kernel}, {"weight type", type}, {"S", s}}, wrong};
}

TEST(Factors, OneAttributeTells) {
  const auto factors = factors_of(
      {trial(Stage::q, "gemv", "q4_1", "1", true), trial(Stage::up, "gemv", "q8_0", "1", true),
       trial(Stage::q, "gemm", "q4_1", "1", false), trial(Stage::up, "gemm", "q8_0", "more than 1", false)});
  ASSERT_THAT(factors, SizeIs(1));
  EXPECT_THAT(factors[0].attributes, ElementsAre("kernel"));
  EXPECT_THAT(factors[0].wrong_values, ElementsAre(ElementsAre("gemv")));
  EXPECT_THAT(factors[0].stages, ElementsAre(Stage::q, Stage::up));
  EXPECT_EQ(factors[0].wrong, 2);
  EXPECT_EQ(factors[0].right, 2);
}

TEST(Factors, TwoTellTogetherWhatNeitherTellsAlone) {
  const auto factors = factors_of(
      {trial(Stage::q, "one", "q4_1", "1", true), trial(Stage::q, "one", "q4_1", "more than 1", false),
       trial(Stage::up, "one", "q8_0", "1", false), trial(Stage::up, "one", "q8_0", "more than 1", false)});
  ASSERT_THAT(factors, SizeIs(1));
  EXPECT_THAT(factors[0].attributes, ElementsAre("weight type", "S"));
  EXPECT_THAT(factors[0].wrong_values, ElementsAre(ElementsAre("q4_1", "1")));
}

TEST(Factors, WhatIsWrongEverywhereOrByChanceHasNone) {
  EXPECT_THAT(factors_of({trial(Stage::q, "a", "", "1", true)}), IsEmpty());
  EXPECT_THAT(factors_of({trial(Stage::q, "a", "", "1", true), trial(Stage::q, "a", "", "1", false)}),
              IsEmpty());
  EXPECT_THAT(factors_of({}), IsEmpty());
}

/// A norm is no projection: what is right of one kind says nothing of the other.
TEST(Factors, KindsAreHeldApart) {
  EXPECT_THAT(
      factors_of({trial(Stage::q, "gemv", "", "1", true), trial(Stage::attn_norm, "norm", "", "1", false)}),
      IsEmpty());
}

/// Many values are a list of places, no answer.
TEST(Factors, ALongListIsNoAnswer) {
  std::vector<Trialled> trials;
  for (const char* kernel : {"a", "b", "c", "d", "e"})
    trials.push_back({Stage::q, {{"kernel", kernel}}, true});
  trials.push_back({Stage::q, {{"kernel", "f"}}, false});
  EXPECT_THAT(factors_of(trials), IsEmpty());
}

}  // namespace
}  // namespace greta
