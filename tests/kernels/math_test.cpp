#include "kernels/math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace greta {
namespace {

/// Error in units of the last place of the exact result.
double ulps(float got, double exact) {
  if (static_cast<double>(got) == exact || std::isinf(static_cast<float>(exact)))
    return got == static_cast<float>(exact) ? 0 : HUGE_VAL;
  int exponent;
  std::frexp(exact, &exponent);
  return std::fabs(static_cast<double>(got) - exact) / std::ldexp(1.0, std::max(exponent, -125) - 24);
}

/// The largest error over a sample of all f32 in [low, high]: every 4099th bit pattern.
template <class Function, class Exact>
double worst(float low, float high, Function function, Exact exact) {
  double most = 0;
  for (uint64_t pattern = 0; pattern < (uint64_t{1} << 32); pattern += 4099) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(pattern));
    if (!(x >= low && x <= high)) continue;
    most = std::max(most, ulps(function(x), exact(static_cast<double>(x))));
  }
  return most;
}

// The limits are those that math.h states, measured over all inputs by bench/kernels/math_accuracy.
TEST(Math, ErrorsStayBelowTheStatedUlps) {
  EXPECT_LE(worst(
                -104.0f, 88.72f, [](float x) { return math::exp(x); }, [](double x) { return std::exp(x); }),
            0.988);
  EXPECT_LE(worst(
                -HUGE_VALF, HUGE_VALF, [](float x) { return math::tanh(x); },
                [](double x) { return std::tanh(x); }),
            1.331);
  EXPECT_LE(worst(
                -88.0f, 1e38f, [](float x) { return math::silu(x); },
                [](double x) { return x / (1 + std::exp(-x)); }),
            2.404);
}

TEST(Math, SineAndCosineStayBelowTheStatedError) {
  constexpr double kTurn = 6.283185307179586476925;
  double most = 0;
  for (uint64_t pattern = 0; pattern < (uint64_t{1} << 32); pattern += 4099) {
    const float t = std::bit_cast<float>(static_cast<uint32_t>(pattern));
    if (!(std::fabs(t) <= 0.5f)) continue;
    const auto [sin, cos] = math::sin_cos_turns(t, 0.0f);
    most = std::max({most, std::fabs(sin - std::sin(kTurn * t)), std::fabs(cos - std::cos(kTurn * t))});
  }
  EXPECT_LE(most, 6.2e-8);
}

TEST(Math, QuartersOfATurnAreExact) {
  const float sines[] = {0, 1, 0, -1}, cosines[] = {1, 0, -1, 0};
  for (int quarter = -8; quarter <= 8; ++quarter) {
    const auto [sin, cos] = math::sin_cos_turns(static_cast<float>(quarter) * 0.25f, 0.0f);
    EXPECT_EQ(sin, sines[(quarter + 8) % 4]) << quarter;
    EXPECT_EQ(cos, cosines[(quarter + 8) % 4]) << quarter;
  }
}

TEST(Math, SpecialValues) {
  EXPECT_EQ(math::exp(-HUGE_VALF), 0.0f);
  EXPECT_EQ(math::exp(HUGE_VALF), HUGE_VALF);
  EXPECT_EQ(math::exp(0.0f), 1.0f);
  EXPECT_EQ(math::exp(88.73f), HUGE_VALF);
  EXPECT_TRUE(std::isnan(math::exp(std::nanf(""))));
  EXPECT_EQ(math::tanh(HUGE_VALF), 1.0f);
  EXPECT_EQ(math::tanh(-HUGE_VALF), -1.0f);
  EXPECT_TRUE(std::signbit(math::tanh(-0.0f)));
  EXPECT_TRUE(std::isnan(math::tanh(std::nanf(""))));
  EXPECT_TRUE(std::isnan(math::silu(std::nanf(""))));
  EXPECT_EQ(math::silu(HUGE_VALF), HUGE_VALF);
  for (float x = 0; x < 12; x += 0.0137f) EXPECT_EQ(math::tanh(-x), -math::tanh(x));
}

}  // namespace
}  // namespace greta
