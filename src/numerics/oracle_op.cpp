#include "numerics/oracle_op.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <tuple>

#include "numerics/bounds.h"
#include "numerics/row_sum.h"

namespace greta::oracle {
namespace {

using bounds::kU;

double sigmoid(double x) {
  const double decay = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + decay) : decay / (1 + decay);
}

/// x * sigmoid(alpha x), relative to its value: exp's share, its argument's rounding, 1 + exp, the division
/// and the product.
double of_gate(double x, double alpha) {
  const double z = alpha * x;
  const double argument = alpha == 1 ? 0 : 2 * kU * std::abs(z);
  return (1 - sigmoid(z)) * (bounds::kExp + argument) + 4 * kU;
}

double silu(double x) { return x * sigmoid(x); }
double silu_bound(double x) {
  return of_gate(x, 1) * std::abs(silu(x)) + 2 * bounds::kTiny * (1 + std::abs(x));
}
double quick(double x) { return x * sigmoid(1.702 * x); }
double quick_bound(double x) {
  return of_gate(x, 1.702) * std::abs(quick(x)) + 2 * bounds::kTiny * (1 + std::abs(x));
}
double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double gelu_bound(double x) {
  const float gate = static_cast<float>(x), one = 1;
  return gelu_mul({&gate, 1}, {&one, 1}).bound.front();
}
double gelu_erf(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }
double gelu_erf_bound(double x) {
  // The argument's two roundings through erf's slope, 1 + erf, two products. erf may be Abramowitz and
  // Stegun's 7.1.26, off by 1.5e-7 and by what f32 makes of its five terms (PyTorch,
  // cpu/vec/vec256_float.h).
  constexpr double kErf = 1.5e-7 + 8 * kU;
  const double z = x / std::numbers::sqrt2;
  const double slope = 2 / std::sqrt(std::numbers::pi) * std::exp(-z * z) * std::abs(z) * 2 * kU;
  return 0.5 * std::abs(x) * (slope + kErf + kU) + 2 * kU * std::abs(gelu_erf(x));
}
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double softplus_bound(double x) {
  // exp's error by the slope of log1p; 1 + exp may be rounded before a logarithm; x itself beyond 20 (ggml).
  const double cut = x > 20 ? std::exp(-x) : 0;
  return sigmoid(x) * bounds::kExp + std::min(kU, std::exp(x)) + 2 * kU * softplus(x) + cut;
}
double nothing(double) { return 0; }

constexpr UnaryFunction kUnary[] = {
    {"silu", silu, silu_bound},
    {"gelu", gelu, gelu_bound},
    {"gelu_erf", gelu_erf, gelu_erf_bound},
    {"gelu_quick", quick, quick_bound},
    {"relu", [](double x) { return std::max(x, 0.0); }, nothing},
    {"relu_sqr", [](double x) { return x > 0 ? x * x : 0.0; },
     [](double x) { return x > 0 ? kU * x * x : 0; }},
    {"sigmoid", sigmoid,
     [](double x) { return ((1 - sigmoid(x)) * bounds::kExp + 2 * kU) * sigmoid(x) + bounds::kTiny; }},
    {"tanh", [](double x) { return std::tanh(x); }, [](double x) { return 4 * kU * std::abs(std::tanh(x)); }},
    {"exp", [](double x) { return std::exp(x); },
     [](double x) { return bounds::kExp * std::exp(x) + bounds::kTiny; }},
    {"log", [](double x) { return std::log(x); }, [](double x) { return 4 * kU * std::abs(std::log(x)); }},
    {"softplus", softplus, softplus_bound},
    {"neg", [](double x) { return -x; }, nothing},
    {"abs", [](double x) { return std::abs(x); }, nothing},
    {"sqr", [](double x) { return x * x; }, [](double x) { return kU * x * x + bounds::kTiny; }},
    {"sqrt", [](double x) { return std::sqrt(x); }, [](double x) { return 2 * kU * std::sqrt(x); }},
    {"identity", [](double x) { return x; }, nothing},
};

/// The scores of one row and head as they go into exp, and how far an f32 kernel's may be.
struct RowOfScores {
  std::vector<double> z, off;
};

void shape_scores(const ScoreShape& shape, int64_t row, int64_t head, RowOfScores& scores) {
  const bool by_head = std::ssize(shape.mask) == shape.rows * shape.heads * shape.n;
  for (int64_t i = 0; i < shape.n; ++i) {
    double& z = scores.z[static_cast<size_t>(i)];
    double& off = scores.off[static_cast<size_t>(i)];
    if (shape.causal && i > shape.n - shape.rows + row) {
      z = -std::numeric_limits<double>::infinity(), off = 0;
      continue;
    }
    z *= shape.scale;
    off = off * std::abs(shape.scale) + (shape.scale == 1 ? 0 : 2 * kU * std::abs(z));
    if (shape.softcap > 0) {
      // A tanh's slope is 1 at most; the division, its 2 ulp, the product.
      z = shape.softcap * std::tanh(z / shape.softcap);
      off += 6 * kU * std::abs(z);
    }
    if (shape.mask.empty()) continue;
    z += shape.mask[static_cast<size_t>((by_head ? (row * shape.heads + head) : row) * shape.n + i)];
    if (std::isfinite(z))
      off += kU * std::abs(z);
    else
      off = 0;
  }
}

/// Weights from scores, with what is off of each: d(log p_i) = e_i - sum_j p_j e_j.
void weigh(RowOfScores& scores, double sink, bool has_sink, double extra_terms) {
  double max = *std::max_element(scores.z.begin(), scores.z.end());
  if (has_sink) max = std::max(max, sink);
  double error_of_sum = 0;
  std::vector<double> terms;
  for (size_t i = 0; i < scores.z.size(); ++i) {
    const double difference = scores.z[i] - max;
    terms.push_back(std::exp(difference));
    double& e = scores.off[i];
    e = std::isinf(difference) ? 0 : e + bounds::kExp - kU * difference;
    error_of_sum += terms[i] * e;
  }
  std::vector<double> all = terms;
  if (has_sink) {
    all.push_back(std::exp(sink - max));
    error_of_sum += all.back() * (bounds::kExp - kU * (sink - max));
  }
  const RowSum sum = sum_positive(all, 1);
  for (size_t i = 0; i < terms.size(); ++i) {
    const double p = terms[i] / sum.value;
    const double relative =
        scores.off[i] + error_of_sum / sum.value + sum.relative_error + (2 + extra_terms) * kU;
    scores.z[i] = p;
    scores.off[i] = terms[i] > 0 ? relative * p + 2 * bounds::kTiny : 0;
  }
}

}  // namespace

const UnaryFunction* find_unary(std::string_view name) {
  const auto it = std::find_if(std::begin(kUnary), std::end(kUnary),
                               [&](const UnaryFunction& row) { return row.name == name; });
  return it == std::end(kUnary) ? nullptr : &*it;
}

std::string unary_names() {
  std::string names;
  for (const UnaryFunction& row : kUnary) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

Expected unary(const UnaryFunction& function, std::span<const float> x) {
  Expected expected;
  for (const float value : x) {
    expected.value.push_back(function.value(value));
    expected.bound.push_back(function.bound(value));
  }
  return expected;
}

Expected glu(const UnaryFunction& function, std::span<const float> gate, std::span<const float> up) {
  Expected expected = unary(function, gate);
  for (size_t i = 0; i < gate.size(); ++i) {
    expected.value[i] *= up[i];
    expected.bound[i] =
        expected.bound[i] * std::abs(double{up[i]}) + kU * std::abs(expected.value[i]) + bounds::kTiny;
  }
  return expected;
}

Expected swiglu_oai(std::span<const float> gate, std::span<const float> up, double alpha, double limit) {
  Expected expected;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = std::min<double>(gate[i], limit), u = std::clamp<double>(up[i], -limit, limit);
    const double value = g * sigmoid(alpha * g) * (u + 1);
    expected.value.push_back(value);
    expected.bound.push_back((of_gate(g, alpha) + 2 * kU) * std::abs(value) +
                             2 * bounds::kTiny * (1 + std::abs(g)) * (1 + std::abs(u)));
  }
  return expected;
}

Expected mul(std::span<const float> a, std::span<const float> b) {
  Expected expected;
  for (size_t i = 0; i < a.size(); ++i) {
    expected.value.push_back(double{a[i]} * b[i % b.size()]);
    expected.bound.push_back(kU * std::abs(expected.value.back()) + bounds::kTiny);
  }
  return expected;
}

Expected scale(std::span<const float> x, double factor, double bias) {
  Expected expected;
  for (const float value : x) {
    const double product = factor * value, sum = product + bias;
    expected.value.push_back(sum);
    // The factor and the bias as f32, the product, the sum.
    expected.bound.push_back(2 * kU * std::abs(product) +
                             (bias == 0 ? 0 : kU * (std::abs(bias) + std::abs(sum))) + bounds::kTiny);
  }
  return expected;
}

Expected layer_norm(std::span<const float> x, int64_t n, std::span<const float> weight,
                    std::span<const float> bias, double eps) {
  Expected expected;
  const size_t width = static_cast<size_t>(n);
  std::vector<double> squares(width), sizes(width);
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double sum = 0, square_sum = 0;
    for (size_t i = 0; i < width; ++i) sum += x[begin + i], square_sum += double{x[begin + i]} * x[begin + i];
    const double mean = sum / static_cast<double>(n);
    // The mean is off by its sum's roundings: at most those of a sum of magnitudes.
    for (size_t i = 0; i < width; ++i) {
      sizes[i] = std::abs(double{x[begin + i]});
      squares[i] = (x[begin + i] - mean) * (x[begin + i] - mean);
    }
    const RowSum size = sum_positive(sizes, 1);
    const double off_mean = size.relative_error * size.value / static_cast<double>(n) + kU * std::abs(mean);
    const RowSum spread = sum_positive(squares, 1);
    const double variance = spread.value / static_cast<double>(n);
    // Each difference is off by the mean's error and a rounding; a kernel that takes E[x^2] - mean^2 instead
    // has the roundings of both.
    const double of_difference =
        2 * (off_mean + kU * std::sqrt(variance)) * std::sqrt(variance) + off_mean * off_mean;
    const double inside = (spread.relative_error + 3 * kU) * variance + of_difference + kU * eps;
    const double inverse = 1 / std::sqrt(variance + eps);
    const double relative = inside / (variance + eps) / 2 + bounds::kRsqrt + 3 * kU;
    for (size_t i = 0; i < width; ++i) {
      const double w = weight.empty() ? 1 : weight[i], b = bias.empty() ? 0 : bias[i];
      const double normed = (x[begin + i] - mean) * inverse * w, value = normed + b;
      expected.value.push_back(value);
      expected.bound.push_back(relative * std::abs(normed) + off_mean * inverse * std::abs(w) +
                               (bias.empty() ? 0 : kU * std::abs(value)) + bounds::kTiny);
    }
  }
  return expected;
}

Expected l2_norm(std::span<const float> x, int64_t n, double eps) {
  Expected expected;
  const size_t width = static_cast<size_t>(n);
  std::vector<double> squares(width);
  for (size_t begin = 0; begin < x.size(); begin += width) {
    for (size_t i = 0; i < width; ++i) squares[i] = double{x[begin + i]} * x[begin + i];
    const RowSum sum = sum_positive(squares, 1);
    const double norm = std::max(std::sqrt(sum.value), eps);
    const double relative = (sum.relative_error + kU) / 2 + 4 * kU;
    for (size_t i = 0; i < width; ++i) {
      expected.value.push_back(x[begin + i] / norm);
      expected.bound.push_back(relative * std::abs(expected.value.back()) + bounds::kTiny);
    }
  }
  return expected;
}

Expected soft_max(std::span<const float> scores, const ScoreShape& shape) {
  Expected expected;
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const auto own = scores.subspan(static_cast<size_t>((row * shape.heads + head) * shape.n),
                                      static_cast<size_t>(shape.n));
      RowOfScores some{{own.begin(), own.end()}, std::vector<double>(own.size())};
      shape_scores(shape, row, head, some);
      const bool sink = !shape.sinks.empty();
      weigh(some, sink ? shape.sinks[static_cast<size_t>(head)] : 0, sink, 0);
      expected.value.insert(expected.value.end(), some.z.begin(), some.z.end());
      expected.bound.insert(expected.bound.end(), some.off.begin(), some.off.end());
    }
  }
  return expected;
}

Expected flash_attention(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                         int64_t kv_heads, const ScoreShape& shape, const Roundings& roundings) {
  const auto [rows, heads, n] = std::tuple(shape.rows, shape.heads, shape.n);
  const int64_t d = std::ssize(q) / (rows * heads), d_v = std::ssize(v) / (n * kv_heads);
  const double u_in =
      std::max(bounds::unit_roundoff(roundings.activation), bounds::unit_roundoff(Format::f32));
  const double coarse = roundings.activation == Format::f32 ? 0 : u_in;
  const double u_sum = std::max(kU, bounds::unit_roundoff(roundings.accumulator));
  Expected expected;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t kv = head / (heads / kv_heads);
      RowOfScores some;
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0, squares = 0, sizes = 0;
        for (int64_t j = 0; j < d; ++j) {
          const double term = double{q[static_cast<size_t>((row * heads + head) * d + j)]} *
                              k[static_cast<size_t>((i * kv_heads + kv) * d + j)];
          sum += term, squares += term * term, sizes += std::abs(term);
        }
        const double count = static_cast<double>(d);
        some.z.push_back(sum);
        some.off.push_back(
            bounds::accumulated(bounds::any_order_energy(sum, squares, count) + squares, 2 * count, kU) +
            coarse * sizes);
      }
      shape_scores(shape, row, head, some);
      const bool sink = !shape.sinks.empty();
      // An online softmax rescales its sums whenever the largest score grows: log2(n) times in the mean.
      weigh(some, sink ? shape.sinks[static_cast<size_t>(head)] : 0, sink,
            2 * std::log2(static_cast<double>(n) + 1));
      for (int64_t j = 0; j < d_v; ++j) {
        double sum = 0, squares = 0, off = 0;
        for (int64_t i = 0; i < n; ++i) {
          const size_t at = static_cast<size_t>(i);
          if (some.z[at] == 0) continue;
          const double value = v[static_cast<size_t>((i * kv_heads + kv) * d_v + j)];
          const double term = some.z[at] * value;
          sum += term, squares += term * term;
          off += some.off[at] * std::abs(value) + coarse * std::abs(term);
        }
        const double count = static_cast<double>(n);
        expected.value.push_back(sum);
        expected.bound.push_back(
            off +
            bounds::accumulated(bounds::any_order_energy(sum, squares, count) + squares, 2 * count, u_sum) +
            bounds::kTiny);
      }
    }
  }
  return expected;
}

}  // namespace greta::oracle
