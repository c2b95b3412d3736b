// Metrics on hand-made vectors. Where an exact answer is not representable, the tolerance is 1e-12: f64 sums
// of a few terms.

#include "numerics/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace greta {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kSaturated = int64_t{1} << 32;
using Floats = std::vector<float>;

TEST(Summary, CountsTheNonFiniteAndDescribesTheRest) {
  const Floats values{3, -4, kNan, kInf, -kInf, 0};
  const Summary s = summarize(values);
  EXPECT_EQ(s.count, 6);
  EXPECT_EQ(s.nan, 1);
  EXPECT_EQ(s.inf, 2);
  EXPECT_EQ(s.min, -4);
  EXPECT_EQ(s.max, 3);
  EXPECT_DOUBLE_EQ(s.mean, -1.0 / 3);
  EXPECT_DOUBLE_EQ(s.rms, std::sqrt(25.0 / 3));
}

TEST(Summary, OfNothingFiniteIsZero) {
  for (const Floats& values : {Floats{}, Floats{kNan, kInf}}) {
    const Summary s = summarize(values);
    EXPECT_EQ(s.min, 0);
    EXPECT_EQ(s.max, 0);
    EXPECT_EQ(s.mean, 0);
    EXPECT_EQ(s.rms, 0);
  }
}

TEST(Compare, EqualBitsAreEqualEvenWhenNotFinite) {
  const Floats a{1, kNan, kInf, -kInf, -0.0f};
  const PairMetrics m = compare(a, a);
  EXPECT_TRUE(m.bit_equal);
  EXPECT_EQ(m.differing, 0);
  EXPECT_EQ(m.first_differing, -1);
  EXPECT_EQ(m.mae, 0);
  EXPECT_EQ(m.max_abs, 0);
  EXPECT_EQ(m.rel_l2, 0);
  EXPECT_DOUBLE_EQ(m.cosine, 1);
  EXPECT_EQ(m.max_ulp, 0);
}

TEST(Compare, MeasuresADifference) {
  const Floats a{3, 4, 0}, b{3, 8, 0};
  const PairMetrics m = compare(a, b);
  EXPECT_FALSE(m.bit_equal);
  EXPECT_EQ(m.count, 3);
  EXPECT_EQ(m.differing, 1);
  EXPECT_EQ(m.first_differing, 1);
  EXPECT_DOUBLE_EQ(m.mae, 4.0 / 3);
  EXPECT_EQ(m.max_abs, 4);
  EXPECT_DOUBLE_EQ(m.rel_l2, 0.8);
  EXPECT_NEAR(m.cosine, (9 + 32) / (5 * std::sqrt(73.0)), 1e-12);
  EXPECT_NEAR(m.norm_ratio, std::sqrt(73.0) / 5, 1e-12);
}

TEST(Compare, UnequalNonFiniteValuesAreInfinitelyFar) {
  for (const float other : {kNan, kInf, -kInf}) {
    const Floats a{1, 2}, b{1, other};
    for (const PairMetrics& m : {compare(a, b), compare(b, a)}) {
      EXPECT_EQ(m.mae, kInf);
      EXPECT_EQ(m.max_abs, kInf);
      EXPECT_EQ(m.rel_l2, kInf);
      EXPECT_EQ(m.max_ulp, kSaturated);
      EXPECT_EQ(m.first_differing, 1);
      EXPECT_FALSE(std::isnan(m.cosine));
    }
  }
}

TEST(Compare, UlpIsCountedWithinOneSignAndFromZero) {
  const float least = std::numeric_limits<float>::denorm_min();
  const auto ulp = [](float x, float y) { return compare(Floats{x}, Floats{y}).max_ulp; };
  EXPECT_EQ(ulp(1, std::nextafter(1.0f, 2.0f)), 1);
  EXPECT_EQ(ulp(-1, -std::nextafter(1.0f, 2.0f)), 1);
  EXPECT_EQ(ulp(1, 2), 1 << 23);
  EXPECT_EQ(ulp(0, least), 1);
  EXPECT_EQ(ulp(0, -least), 1);
  EXPECT_EQ(ulp(0.0f, -0.0f), 0);
  EXPECT_FALSE(compare(Floats{0.0f}, Floats{-0.0f}).bit_equal);
  EXPECT_EQ(ulp(1, -1), kSaturated);
}

TEST(Compare, EmptyAndZeroTensorsHaveDefinedNumbers) {
  const PairMetrics none = compare(Floats{}, Floats{});
  EXPECT_TRUE(none.bit_equal);
  EXPECT_EQ(none.mae, 0);
  const PairMetrics zeros = compare(Floats{0, 0}, Floats{0, 0});
  EXPECT_EQ(zeros.rel_l2, 0);
  EXPECT_EQ(zeros.cosine, 1);
  EXPECT_EQ(zeros.norm_ratio, 1);
  const PairMetrics from_zero = compare(Floats{0, 0}, Floats{0, 1});
  EXPECT_EQ(from_zero.rel_l2, kInf);
  EXPECT_EQ(from_zero.cosine, 0);
  EXPECT_EQ(from_zero.norm_ratio, kInf);
}

TEST(Logits, DivergenceOfKnownDistributions) {
  // softmax(log p) is p.
  const Floats a{std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  const Floats b{std::log(0.25f), std::log(0.5f), std::log(0.25f)};
  const LogitMetrics m = compare_logits(a, b);
  EXPECT_NEAR(m.kl, 0.25 * std::log(2.0), 1e-7);  // the logs are f32
  EXPECT_FALSE(m.top1_agree);
  EXPECT_EQ(m.top1_a, 0);
  EXPECT_EQ(m.top1_b, 1);
  EXPECT_NEAR(m.margin, std::log(2.0), 1e-7);
}

TEST(Logits, LargeLogitsDoNotOverflowAndShiftsDoNotMatter) {
  const Floats a{10000, 9999, -10000}, b{0, -1, -20000};
  const LogitMetrics m = compare_logits(a, b);
  EXPECT_NEAR(m.kl, 0, 1e-12);
  EXPECT_TRUE(m.top1_agree);
  EXPECT_EQ(m.margin, 1);
}

TEST(Logits, MaskedTokensAndNonFiniteLogits) {
  EXPECT_EQ(compare_logits(Floats{1, -kInf}, Floats{1, -kInf}).kl, 0);
  EXPECT_EQ(compare_logits(Floats{1, 1}, Floats{1, -kInf}).kl, kInf);
  EXPECT_EQ(compare_logits(Floats{1, kNan}, Floats{1, 2}).kl, kInf);
  EXPECT_EQ(compare_logits(Floats{1, kNan}, Floats{1, kNan}).kl, 0);
  EXPECT_EQ(compare_logits(Floats{kNan, 1, 3}, Floats{kNan, 1, 3}).top1_a, 2);
  EXPECT_EQ(compare_logits(Floats{}, Floats{}).kl, 0);
}

}  // namespace
}  // namespace greta
