#include <gtest/gtest.h>

#include <cmath>

#include "numerics/oracle_experts.h"

namespace greta {
namespace {

constexpr oracle::ExpertShape kFiveExperts{.experts = 5, .used = 2, .sum_to_1 = true};
using Floats = std::vector<float>;

TEST(OracleExperts, TheHighestAreChosen) {
  const Floats scores = {1, 5, 3, 5, 2, NAN, -1, NAN, -2, NAN};
  EXPECT_EQ(oracle::choose_experts(scores, kFiveExperts).value, (std::vector<double>{1, 3, 1, 3}));
}

TEST(OracleExperts, AChoiceInAnotherOrderIsTheSame) {
  const Floats scores = {1, 5, 3, 4, 2};
  EXPECT_EQ(oracle::settle_ties(Floats{3, 1}, scores, {}, kFiveExperts), (Floats{1, 3}));
}

/// What two scores differ by decides: within the rounding of a probability (some 20 * 2^-24) it is a tie, a
/// thousand times that it is none.
TEST(OracleExperts, ANearTieIsNoFaultAndADifferenceIs) {
  const Floats near = {1, 4, 3, 3 + 1e-6f, 2}, far = {1, 4, 3, 3 + 1e-3f, 2};
  EXPECT_EQ(oracle::settle_ties(Floats{1, 2}, near, {}, kFiveExperts), (Floats{1, 3}));
  EXPECT_EQ(oracle::settle_ties(Floats{1, 2}, far, {}, kFiveExperts), (Floats{1, 2}));
}

TEST(OracleExperts, ScoresThatAreNotKnownExactlyWidenTheTie) {
  const Floats scores = {1, 4, 3, 3 + 1e-3f, 2};
  EXPECT_EQ(oracle::settle_ties(Floats{1, 2}, scores, std::vector<double>(5, 1e-3), kFiveExperts),
            (Floats{1, 3}));
  EXPECT_EQ(oracle::settle_ties(Floats{1, 2}, scores, std::vector<double>(5, 1e-5), kFiveExperts),
            (Floats{1, 2}));
}

TEST(OracleExperts, NoNumberOfAnExpertAndATwiceChosenOneStayAsTheyAre) {
  const Floats scores = {1, 4, 3, 2, 2};
  for (const Floats& bad : {Floats{1, 5}, Floats{1, -1}, Floats{1, NAN}, Floats{1, 1.5f}, Floats{1, 1}}) {
    const Floats settled = oracle::settle_ties(bad, scores, {}, kFiveExperts);
    EXPECT_TRUE(settled[1] == bad[1] || (std::isnan(settled[1]) && std::isnan(bad[1]))) << bad[1];
  }
}

/// Tolerance: f64, 1e-15. The bound is some 20 roundings of f32; a thousandth of the weight is far beyond.
TEST(OracleExperts, WeightsAreTheSoftmaxOfAllOrOfTheChosen) {
  const Floats scores = {1, 5, 3, 4, 2}, numbers = {1, 3};
  double all = 0;
  for (const float score : scores) all += std::exp(static_cast<double>(score) - 5);
  for (const bool sum_to_1 : {false, true}) {
    const double sum = sum_to_1 ? 1 + std::exp(-1.0) : all;
    const Expected weights = oracle::expert_weights(scores, numbers, {5, 2, sum_to_1}, 16);
    EXPECT_NEAR(weights.value[0], 1 / sum, 1e-15);
    EXPECT_NEAR(weights.value[1], std::exp(-1.0) / sum, 1e-15);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_GT(weights.bound[i], 4 * bounds::kU * weights.value[i]);
      EXPECT_LT(weights.bound[i], 64 * bounds::kU * weights.value[i]);
    }
  }
}

/// Of a number that is no expert's nothing is told. Tolerance: f64, 1e-12.
TEST(OracleExperts, ProductsAreThoseOfTheRecordedNumbers) {
  Floats matrices;  // 3 experts of [2, 4]
  for (int i = 0; i < 24; ++i) matrices.push_back(static_cast<float>(i % 7) - 3);
  Tensor tensor;
  tensor.name = "experts";
  tensor.n_dims = 3;
  tensor.dims = {4, 2, 3, 1};
  tensor.data = std::as_bytes(std::span(matrices));
  const Floats x = {1, 2, 3, 4, 5, 6, 7, 8}, numbers = {2, 0, 1, 9};
  for (const bool of_each : {false, true}) {
    const Floats input = of_each ? Floats{1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8} : x;
    const Expected products = oracle::expert_matmul(tensor, input, numbers, 2, {});
    for (size_t slot = 0; slot < 4; ++slot) {
      for (size_t row = 0; row < 2; ++row) {
        const size_t at = slot * 2 + row;
        if (numbers[slot] == 9) {
          EXPECT_FALSE(products.tells(at));
          continue;
        }
        double want = 0;
        for (size_t j = 0; j < 4; ++j)
          want += static_cast<double>(matrices[static_cast<size_t>(numbers[slot]) * 8 + row * 4 + j]) *
                  static_cast<double>(x[slot / 2 * 4 + j]);
        EXPECT_NEAR(products.value[at], want, 1e-12);
      }
    }
  }
}

}  // namespace
}  // namespace greta
