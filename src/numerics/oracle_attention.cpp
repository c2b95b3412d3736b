#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "numerics/activation.h"
#include "numerics/bounds.h"
#include "numerics/lane_chain.h"
#include "numerics/oracle.h"
#include "numerics/row_sum.h"

namespace greta::oracle {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Rows of a cache [count, kv_dim].
int64_t cached_positions(std::span<const float> cache, const AttentionShape& shape) {
  const int64_t kv_dim = shape.n_head_kv * shape.head_dim;
  if (kv_dim <= 0 || shape.n_head <= 0 || shape.n_head % shape.n_head_kv != 0) {
    fail_input("attention: {} heads over {} KV heads of {}; heads must be a multiple of KV heads",
               shape.n_head, shape.n_head_kv, shape.head_dim);
  }
  if (cache.empty() || static_cast<int64_t>(cache.size()) % kv_dim != 0) {
    fail_input("attention: a cache of {} values does not make positions of {}", cache.size(), kv_dim);
  }
  return static_cast<int64_t>(cache.size()) / kv_dim;
}

int64_t query_rows(std::span<const float> data, int64_t width, const char* what) {
  if (static_cast<int64_t>(data.size()) % width != 0) {
    fail_input("attention: {} {} values do not make rows of {}", data.size(), what, width);
  }
  return static_cast<int64_t>(data.size()) / width;
}

/// The first position that the row at `own` sees.
int64_t first_visible(const AttentionShape& shape, int64_t own) {
  return shape.window > 0 ? std::max<int64_t>(0, own - shape.window + 1) : 0;
}

int64_t tiles_of(int64_t count) { return (count + kLanes - 1) / kLanes; }

/// One head's keys as tiles of eight positions, [tile][head_dim][8];
/// lanes beyond the last position hold zeros.
std::vector<double> key_tiles(std::span<const float> keys, const AttentionShape& shape, int64_t head,
                              int64_t n_pos) {
  std::vector<double> tiles(static_cast<size_t>(tiles_of(n_pos) * shape.head_dim * kLanes));
  for (int64_t p = 0; p < n_pos; ++p) {
    const float* key = keys.data() + (p * shape.n_head_kv + head) * shape.head_dim;
    double* lane = tiles.data() + p / kLanes * shape.head_dim * kLanes + p % kLanes;
    for (int64_t d = 0; d < shape.head_dim; ++d) lane[d * kLanes] = key[d];
  }
  return tiles;
}

/// The largest magnitude; NaN where there is one.
template <class T>
double largest(const T& values, int64_t begin, int64_t count) {
  double most = 0;
  for (int64_t i = begin; i < begin + count; ++i) {
    const double x = std::abs(static_cast<double>(values[static_cast<size_t>(i)]));
    if (!(x <= most)) most = x;
    if (std::isnan(x)) return x;
  }
  return most;
}

/// One head's values as tiles of eight dimensions, [tile][n_pos][8];
/// lanes beyond the last dimension hold zeros.
std::vector<double> value_tiles(std::span<const float> values, const AttentionShape& shape, int64_t head,
                                int64_t n_pos) {
  std::vector<double> tiles(static_cast<size_t>(tiles_of(shape.head_dim) * n_pos * kLanes));
  for (int64_t p = 0; p < n_pos; ++p) {
    const float* value = values.data() + (p * shape.n_head_kv + head) * shape.head_dim;
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      tiles[static_cast<size_t>((d / kLanes * n_pos + p) * kLanes + d % kLanes)] = value[d];
    }
  }
  return tiles;
}

/// Bound of an f32 dot product of n terms, whose products may be rounded before they are added.
double dot_bound(const LaneSums& sums, int64_t lane, int64_t n, Format accumulator) {
  const double count = static_cast<double>(n);
  const double energy =
      std::max(sums.energy[lane], bounds::any_order_energy(sums.sum[lane], sums.squares[lane], count));
  const double u = bounds::unit_roundoff(accumulator);
  if (std::sqrt(energy) >= bounds::overflow(accumulator)) return kInfinity;
  return bounds::accumulated(energy + sums.squares[lane], 2 * count, u) +
         count * bounds::underflow(accumulator);
}

/// Rows of `width` as the kernel multiplies them, and which elements may be their neighbours.
struct Multiplied {
  std::vector<double> value;
  std::vector<std::vector<NearTie>> ties;  // by row
};

Multiplied multiplied(std::span<const float> x, int64_t width, const Roundings& roundings) {
  Multiplied result;
  for (size_t at = 0; at < x.size(); at += static_cast<size_t>(width)) {
    ActivationRow row = round_activations(x.subspan(at, static_cast<size_t>(width)), roundings.activation,
                                          roundings.rotation);
    result.value.insert(result.value.end(), row.value.begin(), row.value.end());
    result.ties.push_back(std::move(row.ties));
  }
  return result;
}

/// What the other choice at ties may add to the dot product with a tile's lane.
double tie_bound(const std::vector<NearTie>& ties, const double* tile, int64_t begin, int64_t lane) {
  double bound = 0;
  for (const NearTie& tie : ties) {
    if (tie.index >= begin) bound += std::abs(tile[(tie.index - begin) * kLanes + lane]) * tie.step;
  }
  return bound;
}

/// Of weights that were rounded before they were divided by their sum, each by a rounding of its own.
double weights_bound(const LaneSums& sums, int64_t lane, int64_t n, Format format) {
  const double u = bounds::unit_roundoff(format);
  if (u <= bounds::kU) return 0;
  const double count = static_cast<double>(n);
  return bounds::accumulated(sums.squares[lane], count, u) + count * bounds::underflow(format);
}

/// The first of [0, begin) with a weight in any of the heads, or `begin`:
/// scores that ignore the window are not pv's fault.
int64_t first_weight(const double* weights, int64_t heads, int64_t n_pos, int64_t begin) {
  for (int64_t p = 0; p < begin; ++p) {
    for (int64_t h = 0; h < heads; ++h) {
      if (weights[h * n_pos + p] != 0) return p;
    }
  }
  return begin;
}

/// The end of the positions with a weight in any of the heads, at least `end`.
int64_t last_weight(const double* weights, int64_t heads, int64_t n_pos, int64_t end) {
  for (int64_t p = n_pos; p > end; --p) {
    for (int64_t h = 0; h < heads; ++h) {
      if (weights[h * n_pos + p - 1] != 0) return p;
    }
  }
  return end;
}

}  // namespace

Expected qk(std::span<const float> q, std::span<const float> keys, const AttentionShape& shape,
            int64_t position, const Roundings& roundings) {
  const int64_t n_pos = cached_positions(keys, shape);
  const int64_t rows = query_rows(q, shape.n_head * shape.head_dim, "query");
  const int64_t group = shape.n_head / shape.n_head_kv;
  Expected expected;
  expected.value.assign(static_cast<size_t>(rows * shape.n_head * n_pos), -kInfinity);
  expected.bound.assign(expected.value.size(), 0);
  const Multiplied queries = multiplied(q, shape.head_dim, roundings);
  std::vector<LaneSums> sums(static_cast<size_t>(group));
  for (int64_t kv_head = 0; kv_head < shape.n_head_kv; ++kv_head) {
    const std::vector<double> tiles = key_tiles(keys, shape, kv_head, n_pos);
    std::vector<double> largest_keys;
    for (int64_t p = 0; p < n_pos; ++p)
      largest_keys.push_back(largest(keys, (p * shape.n_head_kv + kv_head) * shape.head_dim, shape.head_dim));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t first_head = r * shape.n_head + kv_head * group;
      std::vector<const double*> heads;
      for (int64_t h = 0; h < group; ++h)
        heads.push_back(queries.value.data() + (first_head + h) * shape.head_dim);
      const int64_t visible = std::clamp<int64_t>(position + r + 1, 0, n_pos);
      const int64_t begin = first_visible(shape, position + r);
      // A mask that is added to NaN, or to what overflowed, leaves NaN, or hides it.
      for (int64_t h = 0; h < group; ++h) {
        const double query = largest(queries.value, (first_head + h) * shape.head_dim, shape.head_dim);
        for (int64_t p = 0; p < n_pos; ++p) {
          const double most =
              query * largest_keys[static_cast<size_t>(p)] * static_cast<double>(shape.head_dim);
          if (!(most <= std::numeric_limits<float>::max()))
            expected.value[static_cast<size_t>((first_head + h) * n_pos + p)] = NAN;
        }
      }
      for (int64_t p = begin; p < visible; ++p) {
        const int64_t lane = p % kLanes;
        if (lane == 0 || p == begin) {
          chain_products(tiles.data() + (p - lane) * shape.head_dim, heads, shape.head_dim, sums.data());
        }
        for (int64_t h = 0; h < group; ++h) {
          const LaneSums& head = sums[static_cast<size_t>(h)];
          const size_t at = static_cast<size_t>((first_head + h) * n_pos + p);
          expected.value[at] = head.sum[lane] * shape.scale;
          // The scale is an f32 and multiplies once: of the query or of the score.
          const double* tile = tiles.data() + (p - lane) * shape.head_dim;
          const double off = dot_bound(head, lane, shape.head_dim, roundings.accumulator) +
                             tie_bound(queries.ties[static_cast<size_t>(first_head + h)], tile, 0, lane);
          expected.bound[at] = off * std::abs(shape.scale) + 2 * bounds::kU * std::abs(expected.value[at]) +
                               bounds::rounding(head.sum[lane], roundings.between) * std::abs(shape.scale) +
                               bounds::rounding(expected.value[at], roundings.between);
        }
      }
    }
  }
  if (shape.cap != 0) soft_cap(shape.cap, roundings.between, roundings.fast_math, expected);
  return expected;
}

void soft_cap(double cap, Format held, bool fast_math, Expected& expected) {
  for (size_t i = 0; i < expected.value.size(); ++i) {
    double &value = expected.value[i], &bound = expected.bound[i];
    if (std::isinf(value)) continue;  // masked, which comes after
    const double x = value / cap, least = std::max(0.0, std::abs(value) - bound) / std::abs(cap);
    const double slope = 1 / (std::cosh(least) * std::cosh(least));  // where it is steepest within the bound
    const double t = std::tanh(x);
    value = cap * t;
    const double of_quotient = bounds::kU * std::abs(x) + bounds::rounding(x, held);
    const double of_tanh = bounds::tanh_error(fast_math) * std::abs(t) + bounds::rounding(t, held);
    bound = bound * slope + std::abs(cap) * (of_quotient * slope + of_tanh) + bounds::kU * std::abs(value) +
            bounds::rounding(value, held) + bounds::kTiny;
    if (expected.drift.empty()) continue;
    expected.drift[i] *= slope;
    expected.spread[i] *= slope;
  }
}

Expected softmax(std::span<const float> scores, int64_t n_pos, int sum_lanes, bool fast_math,
                 std::span<const double> sinks) {
  if (n_pos <= 0 || static_cast<int64_t>(scores.size()) % n_pos != 0) {
    fail_input("softmax: {} scores do not make rows of {}", scores.size(), n_pos);
  }
  Expected expected;
  expected.value.reserve(scores.size());
  expected.bound.reserve(scores.size());
  const size_t n = static_cast<size_t>(n_pos);
  std::vector<double> terms(n), errors(n);
  for (size_t begin = 0; begin < scores.size(); begin += n) {
    const std::span<const float> row = scores.subspan(begin, n);
    const double sink = sinks.empty() ? -kInfinity : sinks[begin / n % sinks.size()];
    const double own_max = *std::max_element(row.begin(), row.end()), max = std::max(own_max, sink);
    const double apart = max - own_max;  // the difference may be from either
    double error_of_sum = 0;
    for (size_t i = 0; i < n; ++i) {
      const double difference = row[i] - max;
      terms[i] = std::exp(difference);
      // The difference is rounded to f32. It may be from a number within 1 of the maximum, as a running one.
      errors[i] = std::isinf(difference)
                      ? 0
                      : bounds::exp_error(difference, fast_math) + bounds::kU * (1 - difference + apart);
      error_of_sum += terms[i] * errors[i];
    }
    RowSum sum = sum_positive(terms, sum_lanes);
    if (!std::isinf(sink)) {
      const double term = std::exp(sink - max);
      const double error =
          bounds::exp_error(sink - max, fast_math) + bounds::kU * (1 + std::abs(sink - own_max) + apart);
      sum.relative_error = sum.relative_error * sum.value / (sum.value + term) + bounds::kU;
      sum.value += term;
      error_of_sum += term * error;
    }
    for (size_t i = 0; i < n; ++i) {
      const double p = terms[i] / sum.value;
      // d(log p_i) = e_i - sum_j p_j e_j: the element's own error partly cancels.
      const double others = error_of_sum / sum.value - p * errors[i];
      const double relative =
          errors[i] * (1 - p) + others + sum.relative_error + bounds::kU + bounds::division(fast_math);
      expected.value.push_back(p);
      expected.bound.push_back(terms[i] > 0 ? relative * p + 2 * bounds::kTiny : 0);
    }
  }
  return expected;
}

Expected pv(std::span<const float> weights, std::span<const float> values, const AttentionShape& shape,
            int64_t position, const Roundings& roundings) {
  const int64_t n_pos = cached_positions(values, shape);
  const int64_t rows = query_rows(weights, shape.n_head * n_pos, "attention weight");
  const int64_t group = shape.n_head / shape.n_head_kv;
  const int64_t tiles_per_head = tiles_of(shape.head_dim);
  Expected expected;
  expected.value.resize(static_cast<size_t>(rows * shape.n_head * shape.head_dim));
  expected.bound.resize(expected.value.size());
  const Multiplied rounded = multiplied(weights, n_pos, roundings);
  const std::vector<double>& weight = rounded.value;
  std::vector<LaneSums> sums(static_cast<size_t>(group)), all_sums = sums;
  for (int64_t kv_head = 0; kv_head < shape.n_head_kv; ++kv_head) {
    const std::vector<double> tiles = value_tiles(values, shape, kv_head, n_pos);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t first_head = r * shape.n_head + kv_head * group;
      std::vector<const double*> heads;
      const double* own = weight.data() + first_head * n_pos;
      const int64_t visible_end = std::clamp<int64_t>(position + r + 1, 0, n_pos);
      const int64_t weights_end = last_weight(own, group, n_pos, visible_end);
      const int64_t end = shape.to_last_weight ? weights_end : visible_end;
      const int64_t begin =
          first_weight(own, group, n_pos, std::min(visible_end, first_visible(shape, position + r)));
      const int64_t visible = end - begin;
      for (int64_t h = 0; h < group; ++h) heads.push_back(weight.data() + (first_head + h) * n_pos + begin);
      for (int64_t t = 0; t < tiles_per_head; ++t) {
        const double* tile = tiles.data() + (t * n_pos + begin) * kLanes;
        chain_products(tile, heads, visible, sums.data());
        if (weights_end > end) chain_products(tile, heads, weights_end - begin, all_sums.data());
        for (int64_t h = 0; h < group; ++h) {
          for (int64_t lane = 0; lane < std::min(kLanes, shape.head_dim - t * kLanes); ++lane) {
            const LaneSums& head = sums[static_cast<size_t>(h)];
            const size_t at = static_cast<size_t>((first_head + h) * shape.head_dim + t * kLanes + lane);
            expected.value[at] = head.sum[lane];
            const auto& ties = rounded.ties[static_cast<size_t>(first_head + h)];
            expected.bound[at] = dot_bound(head, lane, visible, roundings.accumulator) +
                                 tie_bound(ties, tile, begin, lane) +
                                 weights_bound(head, lane, visible, roundings.unnormalised);
            const LaneSums& all = all_sums[static_cast<size_t>(h)];
            if (weights_end == end || !std::isfinite(all.sum[lane])) continue;
            // Scores that ignore the mask are not pv's fault, whether it reads them or not.
            expected.bound[at] += std::abs(all.sum[lane] - head.sum[lane]) +
                                  dot_bound(all, lane, weights_end - begin, roundings.accumulator);
          }
        }
      }
    }
  }
  return expected;
}

Expected kv_write(std::span<const float> k_rope, std::span<const float> v, Format cache,
                  const Roundings& roundings) {
  Expected expected;
  for (const auto& [part, rotation] :
       {std::pair(k_rope, roundings.rotation), std::pair(v, roundings.rotation_of_values)}) {
    const ActivationRow row = round_activations(part, cache, rotation);
    const size_t begin = expected.value.size();
    expected.value.insert(expected.value.end(), row.value.begin(), row.value.end());
    // One rounding to nearest even: the bits are determined, but where a quotient lies at a tie.
    expected.bound.resize(expected.value.size(), 0);
    for (const NearTie& tie : row.ties) expected.bound[begin + static_cast<size_t>(tie.index)] += tie.step;
    if (cache != Format::q8_0) continue;
    const ActivationRow other = round_activations(part, Format::q8_0_stored, rotation);
    for (size_t i = 0; i < part.size(); ++i) {
      double& bound = expected.bound[begin + i];
      bound = std::max(bound, std::abs(other.value[i] - row.value[i]));
    }
  }
  return expected;
}

}  // namespace greta::oracle
