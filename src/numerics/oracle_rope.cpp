#include <cmath>
#include <cstring>
#include <numbers>

#include "base/error.h"
#include "numerics/bounds.h"
#include "numerics/oracle.h"

namespace greta::oracle {
namespace {

struct Turn {
  double cos, sin;
  double cos_error, sin_error;
};

/// The rotation of pair i at `position`, and how far an f32 cosine and sine may be from it.
Turn turn_of(const RopeShape& shape, int64_t pair, int64_t position) {
  const double angle = static_cast<double>(position) * rope_frequency(shape, pair);
  const double error = 2 * std::numbers::pi * bounds::kTurns +
                       (shape.angle_rounding + shape.angle_growth * static_cast<double>(pair)) * angle;
  const double function = shape.fast_math ? bounds::fast_sin_cos(angle) : bounds::kSinCos;
  Turn turn{std::cos(angle), std::sin(angle), 0, 0};
  // |cos(t + e) - cos(t)| <= |sin t| |e| + e^2 / 2; position 0 has no angle to be wrong about.
  const double e = position == 0 ? 0 : error;
  turn.cos_error = std::abs(turn.sin) * e + e * e / 2 + function;
  turn.sin_error = std::abs(turn.cos) * e + e * e / 2 + function;
  if (shape.magnitude == 1) return turn;
  // The magnitude as an f32, and its product.
  turn.cos *= shape.magnitude;
  turn.sin *= shape.magnitude;
  turn.cos_error = turn.cos_error * shape.magnitude + 2 * bounds::kU * std::abs(turn.cos);
  turn.sin_error = turn.sin_error * shape.magnitude + 2 * bounds::kU * std::abs(turn.sin);
  return turn;
}

void rotate(double a, double b, const Turn& turn, Format between, double* value, double* bound, int64_t ia,
            int64_t ib) {
  value[ia] = a * turn.cos - b * turn.sin;
  value[ib] = a * turn.sin + b * turn.cos;
  const double of_cos = bounds::rounding(turn.cos, between), of_sin = bounds::rounding(turn.sin, between);
  const auto rounded = [&](double p, double q, double result) {
    const double coarse = bounds::rounding(p, between) + bounds::rounding(q, between);
    return bounds::kU * (std::abs(p) + std::abs(q) + std::abs(result)) + bounds::kTiny + coarse;
  };
  bound[ia] = std::abs(a) * (turn.cos_error + of_cos) + std::abs(b) * (turn.sin_error + of_sin) +
              rounded(a * turn.cos, b * turn.sin, value[ia]);
  bound[ib] = std::abs(a) * (turn.sin_error + of_sin) + std::abs(b) * (turn.cos_error + of_cos) +
              rounded(a * turn.sin, b * turn.cos, value[ib]);
}

/// The share of a pair's frequency that YaRN divides by its factor: a ramp over pairs, from that which makes
/// beta_fast turns in the original context to the one that makes beta_slow.
double yarn_share(const RopeShape& shape, int64_t pair) {
  const YarnRope& yarn = shape.yarn;
  const double dims = static_cast<double>(shape.rope_dims);
  const double pairs_per_octave = dims / (2 * std::log2(shape.base));
  double first = pairs_per_octave * std::log2(yarn.original / (2 * std::numbers::pi * yarn.beta_fast));
  double last = pairs_per_octave * std::log2(yarn.original / (2 * std::numbers::pi * yarn.beta_slow));
  if (yarn.whole_borders) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::fmax(first, 0);
  last = std::fmin(last, dims - 1);
  if (last - first < 0.001) last = first + 0.001;
  const double share = (static_cast<double>(pair) - first) / (last - first);
  return share < 0 ? 0 : share > 1 ? 1 : share;
}

}  // namespace

double rope_frequency(const RopeShape& shape, int64_t pair) {
  const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(shape.rope_dims);
  double frequency = shape.scale * std::pow(shape.base, exponent);
  if (shape.yarn.factor != 1)
    frequency *= yarn_share(shape, pair) / shape.yarn.factor + 1 - yarn_share(shape, pair);
  if (shape.factors == nullptr) return frequency;
  const size_t at = static_cast<size_t>(pair) * sizeof(float);
  if (shape.factors->type != TensorType::f32 || at + sizeof(float) > shape.factors->data.size())
    fail_input("{}: no f32 factor for pair {}", shape.factors->name, pair);
  float factor;
  std::memcpy(&factor, shape.factors->data.data() + at, sizeof factor);
  return frequency / factor;
}

Expected rope(std::span<const float> x, const RopeShape& shape, int64_t position) {
  const int64_t width = shape.heads * shape.head_dim;
  if (width <= 0 || static_cast<int64_t>(x.size()) % width != 0) {
    fail_input("rope: {} values do not make rows of {} heads of {}", x.size(), shape.heads, shape.head_dim);
  }
  if (shape.rope_dims < 0 || shape.first < 0 || shape.first + shape.rope_dims > shape.head_dim ||
      shape.rope_dims % 2 != 0) {
    fail_input("rope: {} rotated dimensions of a head of {}; must be even and fit", shape.rope_dims,
               shape.head_dim);
  }
  Expected expected;
  expected.value.assign(x.begin(), x.end());  // dimensions that are not rotated pass unchanged
  expected.bound.assign(x.size(), 0);
  const int64_t rows = static_cast<int64_t>(x.size()) / width;
  const int64_t pairs = shape.rope_dims / 2;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < pairs; ++i) {
      const Turn turn = turn_of(shape, i, position + r);
      const int64_t first = shape.first + (shape.adjacent ? 2 * i : i);
      const int64_t second = shape.adjacent ? first + 1 : first + pairs;
      for (int64_t h = 0; h < shape.heads; ++h) {
        const int64_t head = r * width + h * shape.head_dim;
        rotate(x[static_cast<size_t>(head + first)], x[static_cast<size_t>(head + second)], turn,
               shape.between, expected.value.data(), expected.bound.data(), head + first, head + second);
      }
    }
  }
  return expected;
}

}  // namespace greta::oracle
