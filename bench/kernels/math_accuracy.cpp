// Largest error of kernels/math.h over ALL f32 inputs of each function's range (or every STEP-th bit pattern:
// math_accuracy STEP), against libm in double; sine and cosine in long double.

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "kernels/math.h"

namespace greta {
namespace {

/// Error in units of the last place of the exact result.
double ulps(float got, double exact) {
  if (static_cast<double>(got) == exact) return 0;
  int exponent;
  std::frexp(exact, &exponent);
  return std::fabs(static_cast<double>(got) - exact) / std::ldexp(1.0, std::max(exponent, -125) - 24);
}

template <class Function, class Exact>
void sweep(const char* name, uint64_t step, float low, float high, Function function, Exact exact) {
  double worst = 0;
  float at = 0;
  for (uint64_t pattern = 0; pattern < uint64_t{1} << 32; pattern += step) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(pattern));
    if (!(x >= low && x <= high)) continue;
    const double error = ulps(function(x), exact(static_cast<double>(x)));
    if (error > worst) {
      worst = error;
      at = x;
    }
  }
  fmt::print("{:6} {:.3f} ulp at {:a}\n", name, worst, at);
}

void sweep_sin_cos(uint64_t step) {
  constexpr long double kTurn = 6.283185307179586476925286766559L;
  double absolute = 0, sine = 0, cosine = 0;
  for (uint64_t pattern = 0; pattern < uint64_t{1} << 32; pattern += step) {
    const float t = std::bit_cast<float>(static_cast<uint32_t>(pattern));
    const float a = std::fabs(t);
    if (!(a <= 0.5f)) continue;
    const auto got = math::sin_cos_turns(t, 0.0f);
    const double s = a == 0.5f ? 0.0 : static_cast<double>(std::sin(kTurn * static_cast<long double>(t)));
    const double c = a == 0.25f ? 0.0 : static_cast<double>(std::cos(kTurn * static_cast<long double>(t)));
    absolute = std::max({absolute, std::fabs(got.sin - s), std::fabs(got.cos - c)});
    sine = std::max(sine, s == 0 ? std::fabs(static_cast<double>(got.sin)) * 1e9 : ulps(got.sin, s));
    cosine = std::max(cosine, c == 0 ? std::fabs(static_cast<double>(got.cos)) * 1e9 : ulps(got.cos, c));
  }
  fmt::print("sin {:.3f} ulp, cos {:.3f} ulp, absolute {:.3g}\n", sine, cosine, absolute);
}

}  // namespace
}  // namespace greta

int main(int argc, char** argv) {
  using namespace greta;
  const uint64_t step = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (step == 0) {
    fmt::print(stderr, "math_accuracy [STEP]: STEP is at least 1\n");
    return 2;
  }
  sweep(
      "exp", step, -104.0f, 88.72f, [](float x) { return math::exp(x); },
      [](double x) { return std::exp(x); });
  sweep(
      "tanh", step, -3e38f, 3e38f, [](float x) { return math::tanh(x); },
      [](double x) { return std::tanh(x); });
  sweep(
      "silu", step, -88.0f, 3e38f, [](float x) { return math::silu(x); },
      [](double x) { return x / (1 + std::exp(-x)); });
  sweep_sin_cos(step);
  return 0;
}
