// Engines that hold everything in f16 or bf16 round what lies between the parts of an op. Each op as torch
// does it, against the oracle's bound: tolerance 1 (the bound itself), and over 0.4 of it is used. Values run
// down to f16's subnormal numbers, and sums cancel.

#include <cmath>
#include <random>

#include "base/half.h"
#include "numerics/noise.h"
#include "numerics/oracle.h"
#include "test_tensors.h"

namespace greta {
namespace {

float in_format(double x, Format format) {
  const float single = static_cast<float>(x);
  return format == Format::f16 ? f16_to_f32(f32_to_f16(single)) : bf16_to_f32(f32_to_bf16(single));
}

/// Of sizes from 2^-18 to 2^3, as the format holds them.
std::vector<float> held(size_t n, Format format, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> exponent(-18, 3), sign(-1, 1);
  std::vector<float> x(n);
  for (float& value : x) value = in_format(std::copysign(std::exp2(exponent(random)), sign(random)), format);
  return x;
}

class PartsIn : public testing::TestWithParam<Format> {
 protected:
  static constexpr size_t kCount = 20000;

  void expect_within(const std::vector<float>& observed, Expected expected) const {
    oracle::add_output_rounding(GetParam(), expected);
    const NoiseRatio ratio = noise_ratio(observed, expected);
    EXPECT_LE(ratio.max, 1) << "at " << ratio.at;
    EXPECT_GT(ratio.max, 0.4);
  }
  float rounded(double x) const { return in_format(x, GetParam()); }
  Roundings roundings() const {
    Roundings all;
    all.between = all.output = GetParam();
    return all;
  }
};
INSTANTIATE_TEST_SUITE_P(Formats, PartsIn, testing::Values(Format::f16, Format::bf16));

TEST_P(PartsIn, SiluIsRoundedBeforeTheProduct) {
  std::vector<float> gate = held(kCount, GetParam(), 1), up = held(kCount, GetParam(), 2), observed;
  for (float& g : gate) g *= 2;
  for (size_t i = 0; i < kCount; ++i)
    observed.push_back(rounded(double{rounded(gate[i] / (1 + std::exp(-double{gate[i]})))} * up[i]));
  expect_within(observed, oracle::silu_mul(gate, up, roundings()));
}

TEST_P(PartsIn, AScaledBranchIsRoundedBeforeTheSumThatItCancelsIn) {
  std::vector<float> a = held(kCount, GetParam(), 3), b = held(kCount, GetParam(), 4), observed;
  for (size_t i = 0; i < kCount; i += 2) a[i] = -rounded(0.22 * b[i]);
  for (size_t i = 0; i < kCount; ++i)
    observed.push_back(rounded(double{a[i]} + double{rounded(0.22 * b[i])}));
  expect_within(observed, oracle::add(a, b, 0.22, GetParam()));
}

TEST_P(PartsIn, ANormIsRoundedBeforeItsWeight) {
  constexpr size_t kWidth = 200;
  const std::vector<float> x = held(kCount, GetParam(), 5);
  std::vector<float> w = held(kWidth, GetParam(), 6), observed;
  const test::Weight weight = test::f32_weight(w, kWidth);
  for (size_t begin = 0; begin < kCount; begin += kWidth) {
    double squares = 0;
    for (size_t i = 0; i < kWidth; ++i) squares += double{x[begin + i]} * x[begin + i];
    const double inverse = 1 / std::sqrt(squares / kWidth + 1e-5);
    for (size_t i = 0; i < kWidth; ++i)
      observed.push_back(rounded(double{rounded(x[begin + i] * inverse)} * w[i]));
  }
  expect_within(observed, oracle::rms_norm(x, weight.tensor, 1e-5, 1, GetParam()));
}

}  // namespace
}  // namespace greta
