#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace greta {
namespace {

/// The value of a binary16 pattern by its definition.
double f16_value(uint32_t h) {
  const int exponent = static_cast<int>(h >> 10 & 31);
  const double mantissa = h & 1023;
  const double magnitude = exponent == 31  ? (mantissa == 0 ? HUGE_VAL : std::nan(""))
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, EveryF16DecodesExactlyAndComesBack) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float x = f16_to_f32(static_cast<uint16_t>(h));
    const double want = f16_value(h);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(x)) << h;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(x)))) << h;
      continue;
    }
    ASSERT_EQ(static_cast<double>(x), want) << h;
    ASSERT_EQ(std::signbit(x), (h & 0x8000) != 0) << h;
    ASSERT_EQ(f32_to_f16(x), h);
  }
}

// Between each two neighbours:
// the middle goes to the even one, one f32 step to either side to the nearer one.
TEST(Half, RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const double low = f16_value(h);
    // Beyond the largest: what would come next.
    const double high = h + 1 == 0x7c00 ? 65536.0 : f16_value(h + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(f32_to_f16(middle), h % 2 == 0 ? h : h + 1);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0.0f)), h);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, HUGE_VALF)), h + 1);
    ASSERT_EQ(f32_to_f16(-middle), (h % 2 == 0 ? h : h + 1) | 0x8000);
  }
}

TEST(Half, EveryBf16DecodesExactlyAndComesBack) {
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const float x = bf16_to_f32(static_cast<uint16_t>(b));
    ASSERT_EQ(std::bit_cast<uint32_t>(x), b << 16);
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(x)))) << b;
    } else {
      ASSERT_EQ(f32_to_bf16(x), b);
    }
  }
}

TEST(Half, Bf16RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint32_t b = 0; b < 0x7f80; ++b) {
    const uint32_t middle = b << 16 | 0x8000;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle)), b % 2 == 0 ? b : b + 1);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle - 1)), b);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle + 1)), b + 1);
  }
}

}  // namespace
}  // namespace greta
