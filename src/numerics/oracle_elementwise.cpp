#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/half.h"
#include "numerics/bounds.h"
#include "numerics/oracle.h"
#include "numerics/weight_rows.h"

namespace greta::oracle {
namespace {

void demand_equal_sizes(const char* what, size_t a, size_t b) {
  if (a != b) fail_input("{}: inputs of {} and {} values", what, a, b);
}

}  // namespace

Expected add(std::span<const float> a, std::span<const float> b, double scale, Format between) {
  demand_equal_sizes("add", a.size(), b.size());
  Expected expected;
  expected.value.reserve(a.size());
  expected.bound.reserve(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double branch = scale * b[i], value = a[i] + branch;
    // The scale as an f32, and its product where it is rounded before the addition.
    const double scaled = scale == 1 ? 0
                                     : 2 * bounds::kU * std::abs(branch) + bounds::rounding(branch, between) +
                                           bounds::rounding(scale, between) * std::abs(double{b[i]});
    expected.value.push_back(value);
    expected.bound.push_back(bounds::kU * std::abs(value) + scaled);
  }
  return expected;
}

Expected silu_mul(std::span<const float> gate, std::span<const float> up, const Roundings& roundings) {
  demand_equal_sizes("silu_mul", gate.size(), up.size());
  Expected expected;
  expected.value.reserve(gate.size());
  expected.bound.reserve(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i];
    const double decay = std::exp(-std::abs(g));
    const double sigmoid = g >= 0 ? 1 / (1 + decay) : decay / (1 + decay);
    const double value = g * sigmoid * up[i];
    // exp(-g) is exp's share of 1 + exp(-g); then the addition, the division and two products.
    const double relative = (1 - sigmoid) * bounds::exp_error(g, roundings.fast_math) + 3 * bounds::kU +
                            bounds::division(roundings.fast_math);
    // Where exp(-g) nears the end of f32, kernels may clamp it: the sigmoid is then wrong by less than kTiny.
    const double clamped = 2 * bounds::kTiny * (1 + std::abs(g)) * (1 + std::abs(double{up[i]}));
    expected.value.push_back(value);
    expected.bound.push_back(relative * std::abs(value) + clamped +
                             bounds::rounding(g * sigmoid, roundings.between) * std::abs(double{up[i]}));
  }
  return expected;
}

Expected gelu_mul(std::span<const float> gate, std::span<const float> up, const Roundings& roundings) {
  demand_equal_sizes("gelu_mul", gate.size(), up.size());
  Expected expected;
  expected.value.reserve(gate.size());
  expected.bound.reserve(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i];
    const double z = 2 * std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g);
    const double decay = std::exp(-std::abs(z));
    const double share = z >= 0 ? 1 / (1 + decay) : decay / (1 + decay);  // (1 + tanh(z / 2)) / 2
    const double value = g * share * up[i];
    // exp(-z) is exp's share of 1 + exp(-z), and z has four roundings; then as silu_mul.
    const double of_exp =
        share == 1 ? 0
                   : (1 - share) * (bounds::exp_error(z, roundings.fast_math) + 4 * bounds::kU * std::abs(z));
    // Where engines add 1 to a tanh (2 ulp), what is left of the sum has the tanh's absolute error.
    const double of_tanh = 3 * bounds::kU * std::abs(g * up[i]);
    const double clamped = 2 * bounds::kTiny * (1 + std::abs(g)) * (1 + std::abs(double{up[i]}));
    expected.value.push_back(value);
    expected.bound.push_back(
        (of_exp + 3 * bounds::kU + bounds::division(roundings.fast_math)) * std::abs(value) + of_tanh +
        clamped + bounds::rounding(g * share, roundings.between) * std::abs(double{up[i]}));
  }
  return expected;
}

Expected swiglu_oai_mul(std::span<const float> gate, std::span<const float> up, const Roundings& roundings) {
  demand_equal_sizes("swiglu_oai_mul", gate.size(), up.size());
  constexpr double kLimit = 7, kAlpha = 1.702;
  Expected expected;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = std::isnan(gate[i]) ? NAN : std::min(double{gate[i]}, kLimit);
    const double u = std::isnan(up[i]) ? NAN : std::clamp(double{up[i]}, -kLimit, kLimit);
    const double z = kAlpha * g, decay = std::exp(-std::abs(z));
    const double sigmoid = z >= 0 ? 1 / (1 + decay) : decay / (1 + decay);
    const double share = g * sigmoid, value = share * (u + 1);
    // As silu_mul; alpha as an f32 and its product move z, u + 1 is rounded.
    const double of_exp =
        (1 - sigmoid) * (bounds::exp_error(z, roundings.fast_math) + 2 * bounds::kU * std::abs(z) +
                         bounds::rounding(z, roundings.between));
    const double relative = of_exp + 4 * bounds::kU + bounds::division(roundings.fast_math);
    const double clamped = 2 * bounds::kTiny * (1 + std::abs(g)) * (1 + std::abs(u));
    const double held = (bounds::rounding(share, roundings.between) +
                         std::abs(g) * bounds::rounding(sigmoid, roundings.between)) *
                            std::abs(u + 1) +
                        std::abs(share) * bounds::rounding(u + 1, roundings.between);
    expected.value.push_back(value);
    expected.bound.push_back(relative * std::abs(value) + clamped + held);
  }
  return expected;
}

Expected gelu_table_mul(std::span<const float> gate, std::span<const float> up) {
  demand_equal_sizes("gelu_table_mul", gate.size(), up.size());
  const auto as_f16 = [](double x) { return double{f16_to_f32(f32_to_f16(static_cast<float>(x)))}; };
  Expected expected;
  for (size_t i = 0; i < gate.size(); ++i) {
    double entry = gate[i], slack = 0;
    if (gate[i] <= -10) {
      entry = 0;
    } else if (gate[i] < 10) {
      const double g = as_f16(gate[i]);
      const double z = std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g);
      const double exact = 0.5 * g * (1 + std::tanh(z));
      // The argument's four roundings and tanh's own (2 ulp), of 1 + tanh; two products.
      const double error = 0.5 * std::abs(g) * 7 * bounds::kU + 2 * bounds::kU * std::abs(exact);
      entry = as_f16(exact);
      slack = as_f16(exact + error) - as_f16(exact - error);
    }
    const double value = entry * up[i];
    expected.value.push_back(value);
    expected.bound.push_back(slack * std::abs(double{up[i]}) + bounds::kU * std::abs(value) + bounds::kTiny);
  }
  return expected;
}

void add_output_rounding(Format output, Expected& expected) {
  if (bounds::unit_roundoff(output) <= bounds::kU) return;
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double value = expected.value[i];
    if (!std::isfinite(value) || (value == 0 && expected.bound[i] == 0)) continue;
    // What is rounded last is already off by the bound so far.
    expected.bound[i] += bounds::rounding(std::abs(value) + expected.bound[i], output);
  }
}

void forget_overflows(Format output, Expected& expected) {
  const double most = bounds::overflow(output);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    double& value = expected.value[i];
    const bool masked = std::isinf(value) && value < 0 && expected.bound[i] == 0;
    if (masked) continue;
    if (std::isinf(value)) value = NAN;
    if (std::abs(value) + expected.bound[i] >= most) expected.bound[i] = INFINITY;
  }
}

Expected embed(const Tensor& table, std::span<const int32_t> ids, double scale, Format between) {
  const WeightRows rows(table);
  const size_t width = static_cast<size_t>(rows.length());
  Expected expected;
  expected.value.resize(ids.size() * width);
  expected.bound.assign(expected.value.size(), 0);
  for (size_t r = 0; r < ids.size(); ++r) {
    if (ids[r] < 0 || ids[r] >= rows.rows()) {
      fail_input("{}: token id {} is outside the table of {} rows", table.name, ids[r], rows.rows());
    }
    rows.decode(ids[r], expected.value.data() + r * width);
  }
  // d * q and the minimum are f32 numbers in every format:
  // at most their sum is rounded, so the bits are determined.
  for (double& value : expected.value) value = static_cast<float>(value);
  if (scale == 1) return expected;
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double row = std::abs(expected.value[i]);
    expected.value[i] *= scale;
    // Of the scale and of the product; a coarse format's table may be rounded, too.
    expected.bound[i] = 2 * bounds::kU * std::abs(expected.value[i]) +
                        bounds::rounding(scale, between) * row +
                        bounds::rounding(row, between) * std::abs(scale);
  }
  return expected;
}

}  // namespace greta::oracle
