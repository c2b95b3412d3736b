// What tells wrong recordings from right ones. Nothing is computed: no tolerance.

#include "judge/factors.h"

#include <gmock/gmock.h>

namespace greta {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int kRight = Trials::kRight;

Trials trials() { return Trials({{"kernel"}, {"weight type"}, {"S"}}); }

TEST(Factors, OneAttributeTells) {
  Trials some = trials();
  some.add(Stage::q, {"gemv", "q4_1", "1"}, 0);
  some.add(Stage::up, {"gemv", "q8_0", "1"}, 0);
  some.add(Stage::q, {"gemm", "q4_1", "more than 1"}, kRight);
  some.add(Stage::up, {"gemm", "q8_0", "more than 1"}, kRight);
  const std::vector<Factor> factors = some.factors();
  ASSERT_THAT(factors, SizeIs(1));
  EXPECT_THAT(factors[0].attributes, ElementsAre("kernel"));
  EXPECT_THAT(factors[0].wrong_values, ElementsAre(ElementsAre("gemv")));
  EXPECT_THAT(factors[0].stages, ElementsAre(Stage::q, Stage::up));
  EXPECT_EQ(factors[0].wrong, 2);
  EXPECT_EQ(factors[0].right, 2);
}

TEST(Factors, TwoTellTogetherWhatNeitherTellsAlone) {
  Trials some = trials();
  some.add(Stage::q, {"one", "q4_1", "1"}, 0);
  some.add(Stage::q, {"one", "q4_1", "more than 1"}, kRight);
  some.add(Stage::up, {"one", "q8_0", "1"}, kRight);
  some.add(Stage::up, {"one", "q8_0", "more than 1"}, kRight);
  const std::vector<Factor> factors = some.factors();
  ASSERT_THAT(factors, SizeIs(1));
  EXPECT_THAT(factors[0].attributes, ElementsAre("weight type", "S"));
  EXPECT_THAT(factors[0].wrong_values, ElementsAre(ElementsAre("q4_1", "1")));
}

TEST(Factors, WhatIsWrongEverywhereOrByChanceHasNone) {
  Trials everywhere = trials(), chance = trials();
  everywhere.add(Stage::q, {"a", "", "1"}, 0);
  EXPECT_THAT(everywhere.factors(), IsEmpty());
  chance.add(Stage::q, {"a", "", "1"}, 0);
  chance.add(Stage::q, {"a", "", "1"}, kRight);
  EXPECT_THAT(chance.factors(), IsEmpty());
  EXPECT_THAT(trials().factors(), IsEmpty());
}

/// A norm is no projection: what is right of one kind says nothing of the other.
TEST(Factors, KindsAreHeldApart) {
  Trials some = trials();
  some.add(Stage::q, {"gemv", "", "1"}, 0);
  some.add(Stage::attn_norm, {"norm", "", "1"}, kRight);
  EXPECT_THAT(some.factors(), IsEmpty());
}

/// Many values are a list of places, no answer.
TEST(Factors, ALongListIsNoAnswer) {
  Trials some({{"kernel"}});
  for (const char* kernel : {"a", "b", "c", "d", "e"}) some.add(Stage::q, {kernel}, 0);
  some.add(Stage::q, {"f"}, kRight);
  EXPECT_THAT(some.factors(), IsEmpty());
}

/// Two bugs in one kind of stage: of each, what is wrong for the other is neither right nor wrong.
TEST(Factors, CausesAreHeldApart) {
  Trials some = trials();
  some.add(Stage::q, {"gemv", "q4_1", "1"}, 0);
  some.add(Stage::up, {"gemm", "q4_1", "more than 1"}, 1);
  some.add(Stage::up, {"gemv", "q8_0", "1"}, kRight);
  some.add(Stage::q, {"gemm", "q8_0", "more than 1"}, kRight);
  ASSERT_THAT(some.factors(), SizeIs(1));
  EXPECT_THAT(some.factors()[0].wrong_values, ElementsAre(ElementsAre("q4_1")));
  ASSERT_THAT(some.factors(0), SizeIs(1));
  EXPECT_THAT(some.factors(0)[0].stages, ElementsAre(Stage::q));
  EXPECT_EQ(some.factors(0)[0].wrong, 1);
  EXPECT_EQ(some.factors(0)[0].right, 2);
}

std::vector<std::string> wrong_of(const std::vector<int>& wrong, const std::vector<int>& right) {
  Trials some({{"layer", true}});
  for (const int value : wrong) some.add(Stage::q, {std::to_string(value)}, 0);
  for (const int value : right) some.add(Stage::q, {std::to_string(value)}, kRight);
  const std::vector<Factor> factors = some.factors();
  return factors.empty() ? std::vector<std::string>{} : factors[0].wrong_values.front();
}

TEST(Factors, NumbersAreToldAsARange) {
  EXPECT_THAT(wrong_of({64, 100, 1000}, {1, 63}), ElementsAre("64 and more"));
  EXPECT_THAT(wrong_of({9, 11, 10}, {100, 63}), ElementsAre("11 and less"));
  EXPECT_THAT(wrong_of({1, 3, 5, 7, 9}, {0, 2, 4, 6, 8}), ElementsAre("1 modulo 2"));
  EXPECT_THAT(wrong_of({5, 11, 17}, {0, 2, 3, 7, 8}), ElementsAre("5 modulo 6"));
  EXPECT_THAT(wrong_of({5, 11}, {0, 2, 30}), ElementsAre("11"));  // each for itself, as text sorts them
}

/// Of few right numbers some residue is always missing.
TEST(Factors, AResidueNeedsRightNumbersOfEnoughKinds) {
  EXPECT_THAT(wrong_of({0, 3, 6, 9, 12}, {4}), IsEmpty());
}

}  // namespace
}  // namespace greta
