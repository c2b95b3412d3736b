// ggml's int8 blocks by their definition, written out again from its sources (base/rounding.h). No tolerance:
// the inputs lie far from ties, so codes and scales are determined.

#include "numerics/activation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/half.h"
#include "numerics/test_tensors.h"

namespace greta {
namespace {

double as_f16(double x) { return double{f16_to_f32(f32_to_f16(static_cast<float>(x)))}; }

/// Random multiples of 1/4 of a code: at most a quarter from a code, never near a tie.
std::vector<float> far_from_ties(test::RandomTensors& random, int64_t n, float amax) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = (static_cast<float>(random.below(253)) - 126) * amax / 127;
  x[0] = amax;
  return x;
}

TEST(Activation, Q80MakesCodesByTheUnroundedScale) {
  test::RandomTensors random(1);
  for (const float amax : {1.0f, 3.3f, 0.011f}) {
    const std::vector<float> x = far_from_ties(random, 32, amax);
    const ActivationRow row = round_activations(x, Format::q8_0);
    const double d = as_f16(amax / 127.0f);
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(row.value[i], std::nearbyint(x[i] * (127.0f / amax)) * d) << i;
    EXPECT_TRUE(row.sums.empty());
  }
}

TEST(Activation, Q81CarriesItsSum) {
  test::RandomTensors random(2);
  const std::vector<float> x = far_from_ties(random, 64, 2.5f);
  const ActivationRow cpu = round_activations(x, Format::q8_1), cuda = round_activations(x, Format::q8_1_sum);
  ASSERT_EQ(cpu.sums.size(), 2u);
  ASSERT_EQ(cuda.sums.size(), 2u);
  for (size_t block = 0; block < 2; ++block) {
    float amax = 0;
    double codes = 0, sum = 0;
    for (size_t i = 0; i < 32; ++i) amax = std::max(amax, std::abs(x[block * 32 + i]));
    for (size_t i = 0; i < 32; ++i) {
      codes += std::nearbyint(x[block * 32 + i] * (127.0f / amax));
      sum += x[block * 32 + i];
    }
    EXPECT_NEAR(cpu.sums[block], as_f16(amax / 127.0f * static_cast<float>(codes)), cpu.sum_errors[block]);
    EXPECT_NEAR(cuda.sums[block], as_f16(sum), cuda.sum_errors[block]);
    EXPECT_LT(cpu.sum_errors[block], std::abs(cpu.sums[block]) * 0x1p-9 + 1e-6) << "a step of f16 at most";
  }
}

TEST(Activation, Q8KScalesByTheSignedExtreme) {
  for (const float extreme : {2.0f, -2.0f}) {
    std::vector<float> x(256, 0.5f);
    x[17] = extreme;
    const ActivationRow row = round_activations(x, Format::q8_k);
    const float inverse = -127.0f / extreme;
    const double d = double{1.0f / inverse};
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(row.value[i], std::min(127.0, std::nearbyint(double{inverse * x[i]})) * d) << i;
  }
}

TEST(Activation, ZerosStayZerosAndNanSpreadsOverItsBlock) {
  for (const Format format :
       {Format::q8_0, Format::q8_0_stored, Format::q8_1, Format::q8_1_sum, Format::q8_k}) {
    std::vector<float> x(256, 0.0f);
    for (const double value : round_activations(x, format).value) EXPECT_EQ(value, 0);
    x[3] = NAN;
    EXPECT_TRUE(std::isnan(round_activations(x, format).value[7])) << name(format);
  }
}

TEST(Activation, AQuotientNearATieIsSaid) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127;
  x[1] = 2.5f;
  const ActivationRow row = round_activations(x, Format::q8_0);
  ASSERT_EQ(row.ties.size(), 1u);
  EXPECT_EQ(row.ties[0].index, 1);
}

}  // namespace
}  // namespace greta
