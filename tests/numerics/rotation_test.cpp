// Walsh-Hadamard rotations against the matrix itself, in f64; f32 arithmetic stays within the stated errors,
// which are no more than some hundred times what it is off.

#include "numerics/rotation.h"

#include <bit>
#include <cmath>
#include <random>

#include "base/error.h"
#include "numerics/activation.h"

namespace greta {
namespace {

double sign_of(size_t i, size_t j) { return std::popcount(i & j) % 2 == 0 ? 1 : -1; }

std::vector<float> values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

class RotationOf : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, RotationOf, testing::Values(1, 2, 64, 128, 256));

TEST_P(RotationOf, IsTheMatrixAndBoundsAProductByItInF32) {
  const size_t n = GetParam();
  const std::vector<float> x = values(3 * n, 5);
  const Rotated rotated = rotate(x, static_cast<int64_t>(n));
  ASSERT_EQ(rotated.value.size(), x.size());
  const float factor = 1 / std::sqrt(static_cast<float>(n));
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float* block = x.data() + i / n * n;
    double exact = 0;
    float product = 0;
    for (size_t j = 0; j < n; ++j) {
      const double sign = sign_of(i % n, j);
      exact += sign * block[j];
      product += static_cast<float>(sign) * factor * block[j];
    }
    exact /= std::sqrt(static_cast<double>(n));
    EXPECT_NEAR(rotated.value[i], exact, 1e-6 * std::abs(exact) + 1e-30);
    EXPECT_LE(std::abs(double{product} - exact), rotated.error[i]);
    largest = std::max(largest, std::abs(double{product} - exact) / rotated.error[i]);
  }
  EXPECT_GT(largest, n > 1 ? 0.005 : -1.0);
}

TEST(Rotation, OfASizeThatDoesNotFitIsAnInputError) {
  const std::vector<float> x(96);
  for (const int64_t size : {3, 64, 96}) EXPECT_THROW(rotate(x, size), Error) << size;
}

TEST(Rotation, BeforeCodesAllowsWhatItsErrorsMayMove) {
  const std::vector<float> x = values(256, 9);
  const ActivationRow row = round_activations(x, Format::q8_0, 64);
  const Rotated turned = rotate(x, 64);
  const ActivationRow codes = round_activations(turned.value, Format::q8_0);
  EXPECT_EQ(row.value, codes.value);
  // Turned, they are 127 and 0.5: the scale is 1, and each second code lies at a tie.
  std::vector<float> tie(64, 0.0f);
  tie[0] = 510, tie[1] = 506;
  const ActivationRow near = round_activations(tie, Format::q8_0, 64);
  EXPECT_GE(near.ties.size(), 32u);
}

}  // namespace
}  // namespace greta
