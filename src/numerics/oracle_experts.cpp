#include "numerics/oracle_experts.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

/// Experts by their values, NaN below all numbers; stable.
void sort_by_value(std::vector<int64_t>& experts, std::span<const double> values) {
  const auto value = [&](int64_t e) { return values[static_cast<size_t>(e)]; };
  std::stable_sort(experts.begin(), experts.end(), [&](int64_t a, int64_t b) {
    return value(a) > value(b) || (std::isnan(value(b)) && !std::isnan(value(a)));
  });
}

/// The first of `count` numbers from `from`, in the order of their values.
std::vector<int64_t> best_of(int64_t from, int64_t count, int64_t used, std::span<const double> values) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), from);
  sort_by_value(order, values);
  order.resize(static_cast<size_t>(std::min(used, count)));
  return order;
}

/// What experts of one row are compared by: their scores and biases.
std::vector<double> values_of(std::span<const float> scores, std::span<const double> biases) {
  std::vector<double> values(scores.begin(), scores.end());
  for (size_t e = 0; e < biases.size() && e < values.size(); ++e) values[e] += biases[e];
  return values;
}

/// The chosen of a row. `favour` is added to the worth of the groups that `of` are in: what settles their
/// ties.
std::vector<int64_t> chosen_of(std::vector<double> values, const ExpertShape& shape,
                               const std::vector<int64_t>& of = {}, double favour = 0) {
  const ExpertChoice& how = shape.choice;
  const int64_t size = shape.experts / std::max<int64_t>(how.groups, 1);
  if (how.groups > 1) {
    std::vector<double> worth;
    for (int64_t group = 0; group < how.groups; ++group) {
      double sum = 0;
      for (const int64_t e : best_of(group * size, size, how.group_best, values))
        sum += values[static_cast<size_t>(e)];
      const bool has = std::ranges::any_of(of, [&](int64_t e) { return e / size == group; });
      worth.push_back(sum + (has ? favour : 0));
    }
    const std::vector<int64_t> groups = best_of(0, how.groups, how.groups_used, worth);
    for (int64_t e = 0; e < shape.experts; ++e) {
      if (std::ranges::find(groups, e / size) == groups.end())
        values[static_cast<size_t>(e)] = -std::numeric_limits<double>::infinity();
    }
  }
  return best_of(0, shape.experts, shape.used, values);
}

/// In f32, e^(score - highest): by exp, by the rounded difference, by a product with 1 / the sum; by two
/// divisions where a kernel divides by the sum of all and then by that of the chosen.
double relative_error(double difference, bool fast_math) {
  return bounds::exp_error(difference, fast_math) + kU * (1 - difference) +
         2 * (kU + bounds::division(fast_math));
}

}  // namespace

Expected choose_experts(std::span<const float> scores, const ExpertShape& shape,
                        std::span<const double> biases) {
  const int64_t rows = rows_of(scores.size(), shape.experts, "scores");
  Expected expected;
  for (int64_t r = 0; r < rows; ++r) {
    for (const int64_t expert : chosen_of(values_of(scores.subspan(static_cast<size_t>(r * shape.experts),
                                                                   static_cast<size_t>(shape.experts)),
                                                    biases),
                                          shape))
      expected.value.push_back(static_cast<double>(expert));
  }
  expected.bound.resize(expected.value.size(), 0);
  return expected;
}

std::vector<float> settle_ties(std::span<const float> numbers, std::span<const float> scores,
                               std::span<const double> off, const ExpertShape& shape, Format probabilities,
                               std::span<const double> biases) {
  const int64_t rows = rows_of(numbers.size(), shape.used, "numbers of experts");
  std::vector<float> settled(numbers.begin(), numbers.end());
  if (rows_of(scores.size(), shape.experts, "scores") != rows) return settled;
  const double u = std::max(kU, bounds::unit_roundoff(probabilities));
  for (int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<size_t>(r * shape.experts);
    const std::vector<double> own = values_of(scores.subspan(at, static_cast<size_t>(shape.experts)), biases);
    float* row = &settled[static_cast<size_t>(r * shape.used)];
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < shape.used; ++i) seen.push_back(expert_of_number(row[i], shape.experts));
    std::vector<int64_t> once = seen;
    std::sort(once.begin(), once.end());
    if (once.front() < 0 || std::adjacent_find(once.begin(), once.end()) != once.end()) continue;
    sort_by_value(once, own);
    const double highest = *std::max_element(own.begin(), own.end());
    // What a score may be off by: as it was made, and as a probability; a sum with a bias is rounded.
    const auto slack = [&](int64_t expert) {
      const auto e = static_cast<size_t>(expert);
      const double by_probability = shape.choice.by_sigmoid
                                        ? 2 * u * (1 + std::abs(own[e]))
                                        : relative_error(own[e] - highest, false) + (u > kU ? u : 0);
      return by_probability + (off.empty() ? 0 : off[at + e]);
    };
    double most = 0;
    for (int64_t e = 0; e < shape.experts; ++e) most = std::max(most, slack(e));
    const double favour = 2 * static_cast<double>(shape.choice.group_best) * most;
    const std::vector<int64_t> right = chosen_of(own, shape, once, favour);
    for (int64_t i = 0; i < shape.used; ++i) {
      const int64_t a = once[static_cast<size_t>(i)], b = right[static_cast<size_t>(i)];
      const double gap = std::abs(own[static_cast<size_t>(a)] - own[static_cast<size_t>(b)]);
      row[i] = static_cast<float>(gap <= slack(a) + slack(b) ? b : a);
    }
  }
  return settled;
}

/// The weights of a row times a factor, which may be rounded, and a product.
static void scale_by(double scale, Expected& expected) {
  if (scale == 1) return;
  for (size_t i = 0; i < expected.value.size(); ++i) {
    expected.value[i] *= scale;
    expected.bound[i] = expected.bound[i] * scale + 2 * kU * std::abs(expected.value[i]);
  }
}

/// Probabilities of the chosen, as they are or divided by their sum.
static Expected taken(std::span<const float> probabilities, std::span<const float> numbers,
                      const ExpertShape& shape, bool fast_math) {
  Expected expected;
  for (size_t slot = 0; slot < numbers.size(); ++slot) {
    const size_t row = slot / static_cast<size_t>(shape.used);
    const auto of = [&](size_t at) {
      const int64_t expert = expert_of_number(numbers[at], shape.experts);
      return expert < 0
                 ? NAN
                 : double{
                       probabilities[row * static_cast<size_t>(shape.experts) + static_cast<size_t>(expert)]};
    };
    double sum = 0;
    for (size_t i = 0; i < static_cast<size_t>(shape.used); ++i)
      sum += of(row * static_cast<size_t>(shape.used) + i);
    const double value = shape.sum_to_1 ? of(slot) / sum : of(slot);
    // A few positive terms in any order, and a division (or by 1 / the sum: a product more).
    const double relative =
        shape.sum_to_1 ? static_cast<double>(shape.used) * kU + 2 * kU + bounds::division(fast_math) : 0;
    expected.value.push_back(value);
    expected.bound.push_back(shape.sum_to_1 ? relative * std::abs(value) + bounds::kTiny : 0);
  }
  return expected;
}

Expected expert_weights(std::span<const float> scores, std::span<const float> numbers,
                        const ExpertShape& shape, int sum_lanes, bool fast_math) {
  const int64_t rows = rows_of(numbers.size(), shape.used, "numbers of experts");
  if (rows_of(scores.size(), shape.experts, "scores") != rows)
    fail_input("experts: {} scores for {} rows of {}", scores.size(), rows, shape.experts);
  Expected expected;
  if (shape.choice.by_sigmoid) {
    expected = taken(scores, numbers, shape, fast_math);
    scale_by(shape.choice.scale, expected);
    return expected;
  }
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
  scale_by(shape.choice.scale, expected);
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

Expected head_matmul(const Tensor& heads, std::span<const float> x, int64_t rows,
                     const Roundings& roundings) {
  const auto k = static_cast<int64_t>(heads.dims[0]), n_head = static_cast<int64_t>(heads.dims[2]);
  const int64_t width = rows_of(x.size(), std::max<int64_t>(rows, 1) * n_head, "values of heads");
  if (width < k) fail_input("{}: slices of {} values for matrices of {} columns", heads.name, width, k);
  std::vector<float> slices, numbers;
  for (int64_t slot = 0; slot < rows * n_head; ++slot) {
    const auto own = x.subspan(static_cast<size_t>(slot * width), static_cast<size_t>(k));
    slices.insert(slices.end(), own.begin(), own.end());
    numbers.push_back(static_cast<float>(slot % n_head));
  }
  return expert_matmul(heads, slices, numbers, n_head, roundings);
}

Expected join_heads(std::span<const float> first, std::span<const float> last, int64_t rows, int64_t heads,
                    int64_t from_end) {
  const int64_t slots = std::max<int64_t>(rows * heads, 1);
  const int64_t a = rows_of(first.size(), slots, "values of heads"),
                b = rows_of(last.size(), slots, "values");
  if (b < from_end) fail_input("heads of {} values have no last {}", b, from_end);
  Expected expected;
  for (int64_t slot = 0; slot < rows * heads; ++slot) {
    const auto whole = first.subspan(static_cast<size_t>(slot * a), static_cast<size_t>(a));
    const auto end =
        last.subspan(static_cast<size_t>((slot + 1) * b - from_end), static_cast<size_t>(from_end));
    expected.value.insert(expected.value.end(), whole.begin(), whole.end());
    expected.value.insert(expected.value.end(), end.begin(), end.end());
  }
  expected.bound.resize(expected.value.size(), 0);
  return expected;
}

Expected sigmoid(std::span<const float> x, const Roundings& roundings) {
  const std::vector<float> ones(x.size(), 1.0f);
  return sigmoid_mul(ones, x, roundings);
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
