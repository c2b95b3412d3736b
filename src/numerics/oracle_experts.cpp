#include "numerics/oracle_experts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"
#include "model/model.h"
#include "numerics/row_sum.h"

namespace greta::oracle {
namespace {

using bounds::kU;

int64_t rows_of(size_t values, int64_t width, const char* what) {
  if (width <= 0 || values % static_cast<size_t>(width) != 0)
    fail_input("experts: {} {} do not make rows of {}", values, what, width);
  return static_cast<int64_t>(values) / width;
}

/// The expert of this number, or -1.
int64_t expert_of_number(float number, int64_t experts) {
  const bool is_one = number >= 0 && number < static_cast<float>(experts) && number == std::floor(number);
  return is_one ? static_cast<int64_t>(number) : -1;
}

/// Experts by their scores, NaN below all numbers; stable.
void sort_by_score(std::vector<int64_t>& experts, std::span<const float> scores) {
  const auto score = [&](int64_t e) { return scores[static_cast<size_t>(e)]; };
  std::stable_sort(experts.begin(), experts.end(), [&](int64_t a, int64_t b) {
    return score(a) > score(b) || (std::isnan(score(b)) && !std::isnan(score(a)));
  });
}

std::vector<int64_t> chosen_of(std::span<const float> scores, int64_t used) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  sort_by_score(order, scores);
  order.resize(static_cast<size_t>(std::min<int64_t>(used, std::ssize(order))));
  return order;
}

/// In f32, e^(score - highest): by exp, by the rounded difference, by a product with 1 / the sum; by two
/// divisions where a kernel divides by the sum of all and then by that of the chosen.
double relative_error(double difference, bool fast_math) {
  return bounds::exp_error(difference, fast_math) + kU * (1 - difference) +
         2 * (kU + bounds::division(fast_math));
}

}  // namespace

Expected choose_experts(std::span<const float> scores, const ExpertShape& shape) {
  const int64_t rows = rows_of(scores.size(), shape.experts, "scores");
  Expected expected;
  for (int64_t r = 0; r < rows; ++r) {
    for (const int64_t expert :
         chosen_of(scores.subspan(static_cast<size_t>(r * shape.experts), static_cast<size_t>(shape.experts)),
                   shape.used))
      expected.value.push_back(static_cast<double>(expert));
  }
  expected.bound.resize(expected.value.size(), 0);
  return expected;
}

std::vector<float> settle_ties(std::span<const float> numbers, std::span<const float> scores,
                               std::span<const double> off, const ExpertShape& shape, Format probabilities) {
  const int64_t rows = rows_of(numbers.size(), shape.used, "numbers of experts");
  std::vector<float> settled(numbers.begin(), numbers.end());
  if (rows_of(scores.size(), shape.experts, "scores") != rows) return settled;
  const double u = std::max(kU, bounds::unit_roundoff(probabilities));
  for (int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<size_t>(r * shape.experts);
    const std::span<const float> own = scores.subspan(at, static_cast<size_t>(shape.experts));
    float* row = &settled[static_cast<size_t>(r * shape.used)];
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < shape.used; ++i) seen.push_back(expert_of_number(row[i], shape.experts));
    std::vector<int64_t> once = seen;
    std::sort(once.begin(), once.end());
    if (once.front() < 0 || std::adjacent_find(once.begin(), once.end()) != once.end()) continue;
    sort_by_score(once, own);
    const std::vector<int64_t> right = chosen_of(own, shape.used);
    const double highest = own[static_cast<size_t>(right.front())];
    // What a score may be off by: as it was made, and as a probability.
    const auto slack = [&](int64_t expert) {
      const auto e = static_cast<size_t>(expert);
      const double by_probability = relative_error(own[e] - highest, false) + (u > kU ? u : 0);
      return by_probability + (off.empty() ? 0 : off[at + e]);
    };
    for (int64_t i = 0; i < shape.used; ++i) {
      const int64_t a = once[static_cast<size_t>(i)], b = right[static_cast<size_t>(i)];
      const double gap = std::abs(double{own[static_cast<size_t>(a)]} - own[static_cast<size_t>(b)]);
      row[i] = static_cast<float>(gap <= slack(a) + slack(b) ? b : a);
    }
  }
  return settled;
}

Expected expert_weights(std::span<const float> scores, std::span<const float> numbers,
                        const ExpertShape& shape, int sum_lanes, bool fast_math) {
  const int64_t rows = rows_of(numbers.size(), shape.used, "numbers of experts");
  if (rows_of(scores.size(), shape.experts, "scores") != rows)
    fail_input("experts: {} scores for {} rows of {}", scores.size(), rows, shape.experts);
  Expected expected;
  for (int64_t r = 0; r < rows; ++r) {
    const std::span<const float> own =
        scores.subspan(static_cast<size_t>(r * shape.experts), static_cast<size_t>(shape.experts));
    const double highest = *std::max_element(own.begin(), own.end());
    std::vector<double> chosen, all;
    for (const float score : own) all.push_back(std::exp(score - highest));
    for (const float number :
         numbers.subspan(static_cast<size_t>(r * shape.used), static_cast<size_t>(shape.used))) {
      const int64_t expert = expert_of_number(number, shape.experts);
      chosen.push_back(expert < 0 ? NAN : own[static_cast<size_t>(expert)] - highest);
    }
    std::vector<double> terms;
    for (const double difference : chosen) terms.push_back(std::exp(difference));
    // d(log w_i) = e_i - sum_j w_j e_j, over what the sum is of.
    double error_of_sum = 0;
    for (size_t i = 0; i < (shape.sum_to_1 ? terms.size() : all.size()); ++i) {
      const double difference = shape.sum_to_1 ? chosen[i] : own[i] - highest;
      if (std::isinf(difference)) continue;
      error_of_sum += std::exp(difference) * relative_error(difference, fast_math);
    }
    const RowSum sum = sum_positive(shape.sum_to_1 ? terms : all, sum_lanes);
    for (size_t i = 0; i < terms.size(); ++i) {
      const double w = terms[i] / sum.value;
      const double relative =
          relative_error(chosen[i], fast_math) + error_of_sum / sum.value + sum.relative_error;
      expected.value.push_back(w);
      expected.bound.push_back(terms[i] > 0 ? relative * w + 2 * bounds::kTiny : bounds::kTiny);
    }
  }
  return expected;
}

/// One expert's row of them.
static std::optional<Tensor> bias_of_expert(const Tensor* biases, int64_t expert) {
  if (biases == nullptr) return std::nullopt;
  Tensor one = *biases;
  one.n_dims = 1;
  one.dims[1] = 1;
  const size_t bytes = biases->data.size() / biases->dims[1];
  one.data = biases->data.subspan(static_cast<size_t>(expert) * bytes, bytes);
  return one;
}

Expected expert_matmul(const Tensor& experts, std::span<const float> x, std::span<const float> numbers,
                       int64_t used, const Roundings& roundings, const Tensor* biases) {
  const auto k = static_cast<size_t>(experts.dims[0]), n = static_cast<size_t>(experts.dims[1]);
  const int64_t rows = rows_of(numbers.size(), used, "numbers of experts");
  const bool of_each = x.size() == numbers.size() * k;
  if (!of_each && x.size() != static_cast<size_t>(rows) * k)
    fail_input("{}: {} input values do not make {} rows of {}", experts.name, x.size(), rows, k);
  std::map<int64_t, std::vector<size_t>> slots;
  for (size_t slot = 0; slot < numbers.size(); ++slot)
    slots[expert_of_number(numbers[slot], static_cast<int64_t>(experts.dims[2]))].push_back(slot);
  Expected all{std::vector<double>(numbers.size() * n, NAN), std::vector<double>(numbers.size() * n)};
  for (const auto& group : slots) {
    const int64_t expert = group.first;
    const std::vector<size_t>& its = group.second;
    if (expert < 0) continue;
    std::vector<float> input;
    for (const size_t slot : its) {
      const auto from = x.subspan((of_each ? slot : slot / static_cast<size_t>(used)) * k, k);
      input.insert(input.end(), from.begin(), from.end());
    }
    const std::optional<Tensor> bias = bias_of_expert(biases, expert);
    const Expected one =
        matmul(expert_of(experts, expert), input, std::ssize(its), roundings, bias ? &*bias : nullptr);
    const auto put = [&](const std::vector<double>& from, std::vector<double>& to) {
      if (from.empty()) return;
      to.resize(all.value.size());
      for (size_t i = 0; i < its.size(); ++i)
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(i * n), n,
                    to.begin() + static_cast<std::ptrdiff_t>(its[i] * n));
    };
    put(one.value, all.value);
    put(one.bound, all.bound);
    put(one.drift, all.drift);
    put(one.spread, all.spread);
  }
  return all;
}

Expected combine_experts(std::span<const float> x, std::span<const float> weights, int64_t used,
                         const Roundings& roundings) {
  const int64_t rows = rows_of(weights.size(), used, "weights of experts");
  const auto n = static_cast<size_t>(rows_of(x.size(), std::ssize(weights), "values of experts"));
  const double u = std::max(kU, bounds::unit_roundoff(roundings.accumulator));
  const double step = std::max(kU, bounds::unit_roundoff(roundings.between));
  Expected expected;
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
    for (size_t i = 0; i < n; ++i) {
      double sum = 0, size = 0;
      for (size_t slot = r * static_cast<size_t>(used); slot < (r + 1) * static_cast<size_t>(used); ++slot) {
        const double term = double{weights[slot]} * x[slot * n + i];
        sum += term;
        size += std::abs(term);
      }
      // A few terms: the worst case, a rounding of each product, and one of each sum that holds it.
      expected.value.push_back(sum);
      expected.bound.push_back((step + static_cast<double>(used) * u) * size +
                               static_cast<double>(2 * used) * bounds::kTiny);
    }
  }
  return expected;
}

Expected sigmoid_mul(std::span<const float> x, std::span<const float> gate, const Roundings& roundings) {
  const auto n = static_cast<size_t>(rows_of(x.size(), std::ssize(gate), "values"));
  Expected expected;
  for (size_t i = 0; i < x.size(); ++i) {
    const double z = gate[i / n], decay = std::exp(-std::abs(z));
    const double share = z >= 0 ? 1 / (1 + decay) : decay / (1 + decay);
    const double value = share * x[i];
    // As silu_mul: some engines divide a SiLU by its argument.
    const double relative = (1 - share) * bounds::exp_error(z, roundings.fast_math) + 3 * kU +
                            bounds::division(roundings.fast_math);
    expected.value.push_back(value);
    expected.bound.push_back(relative * std::abs(value) + 2 * bounds::kTiny * (1 + std::abs(double{x[i]})) +
                             bounds::rounding(share, roundings.between) * std::abs(double{x[i]}));
  }
  return expected;
}

}  // namespace greta::oracle
