#include <cmath>

#include "base/error.h"
#include "numerics/bounds.h"
#include "numerics/dequant.h"
#include "numerics/oracle.h"
#include "numerics/row_sum.h"

namespace greta::oracle {

Expected rms_norm(std::span<const float> x, const Tensor& weight, double eps, int sum_lanes, Format between) {
  const size_t n = weight.dims[0];
  if (n == 0 || x.size() % n != 0) {
    fail_input("{}: {} input values do not make rows of {}", weight.name, x.size(), n);
  }
  std::vector<double> w(n), squares(n);
  decode_row(weight, 0, w);
  Expected expected;
  expected.value.reserve(x.size());
  expected.bound.reserve(x.size());
  for (size_t begin = 0; begin < x.size(); begin += n) {
    for (size_t i = 0; i < n; ++i) squares[i] = double{x[begin + i]} * x[begin + i];
    const RowSum sum = sum_positive(squares, sum_lanes);
    // An f32 sum of squares that overflows makes zeros; it says nothing.
    const bool overflows = !(sum.value < bounds::overflow(Format::f32));
    const double mean = overflows ? NAN : sum.value / static_cast<double>(n);
    const double inverse = 1 / std::sqrt(mean + eps);
    // The square, then the division by n; then eps as f32 and its addition.
    // Half of it survives the square root.
    const double inside = (sum.relative_error + 2 * bounds::kU) * mean / (mean + eps) + 2 * bounds::kU;
    const double relative = inside / 2 + bounds::kRsqrt + 2 * bounds::kU;
    for (size_t i = 0; i < n; ++i) {
      const double normed = x[begin + i] * inverse, value = normed * w[i];
      expected.value.push_back(value);
      expected.bound.push_back(relative * std::abs(value) + bounds::kTiny +
                               bounds::rounding(normed, between) * std::abs(w[i]));
    }
  }
  return expected;
}

}  // namespace greta::oracle
