#include "judge/gap_bounds.h"

#include <algorithm>
#include <cmath>

namespace greta {
namespace {

/// An operand as it was made; nullptr where it is recorded.
const Expected* made(const StageProblem& problem, size_t operand, const Solved& solved) {
  const auto& maker = problem.operands[operand].made_by;
  return maker == nullptr ? nullptr : &solved.at(maker.get());
}

/// d p_i = p_i (d s_i - sum over j of p_j d s_j). A code at a tie moves all scores of its row at once: their
/// bounds are added up, not squared.
void carry_to_weights(const Expected& scores, int64_t n_pos, Expected& weights) {
  const auto n = static_cast<size_t>(n_pos);
  for (size_t begin = 0; begin + n <= weights.value.size(); begin += n) {
    double all = 0;
    const auto term = [&](size_t i) { return weights.value[begin + i] * scores.bound[begin + i]; };
    for (size_t i = 0; i < n; ++i) all += term(i);
    for (size_t i = 0; i < n; ++i) {
      const double p = weights.value[begin + i];
      weights.bound[begin + i] += (1 - p) * term(i) + p * (all - term(i));
    }
  }
}

/// What a mix is made from, as far as it is known up to bounds; nullptr for what is recorded.
struct MadeOperands {
  const Expected* scores;
  const Expected* weights;
  const Expected* cache;
};

/// d o = sum over p of w_p (v_p - o) d s_p, beside what the weights' own bounds and the values' move; added
/// up.
void carry_to_mix(const StageProblem& mix, std::span<const float> cache, const MadeOperands& made,
                  Expected& expected) {
  const oracle::AttentionShape& shape = mix.attention;
  const int64_t kv_dim = shape.n_head_kv * shape.head_dim, n_pos = std::ssize(cache) / (2 * kv_dim);
  const int64_t group = shape.n_head / shape.n_head_kv;
  const std::vector<double>& weights = made.weights->value;
  for (int64_t head = 0; head * n_pos < std::ssize(weights); ++head) {
    const size_t out = static_cast<size_t>(head * shape.head_dim);
    const int64_t of_kv = head % shape.n_head / group;
    for (int64_t p = 0; p < n_pos; ++p) {
      const size_t at = static_cast<size_t>(head * n_pos + p);
      if (weights[at] == 0) continue;
      const double of_score = made.scores == nullptr ? 0 : weights[at] * made.scores->bound[at];
      const size_t from = static_cast<size_t>((2 * p + 1) * kv_dim + of_kv * shape.head_dim);
      for (size_t d = 0; d < static_cast<size_t>(shape.head_dim); ++d) {
        const double value = cache[from + d];
        const double by_value = made.cache == nullptr ? 0 : weights[at] * made.cache->bound[from + d];
        expected.bound[out + d] += of_score * std::abs(value - expected.value[out + d]) +
                                   made.weights->bound[at] * std::abs(value) + by_value;
      }
    }
  }
}

/// Bounds of f32 sums are many times their errors; a value that is rounded to a coarse format is off by up to
/// its bound. Hoeffding's inequality then (docs/numerics.md, "Gaps"), and no sum is off by more than all.
double draws_factor(const StageProblem& problem, const Values& values) {
  double factor = 2;
  for (size_t i = 0; i < problem.operands.size(); ++i) {
    const auto& maker = problem.operands[i].made_by;
    if (maker == nullptr || bounds::unit_roundoff(maker->declared.roundings.output) <= bounds::kU) continue;
    const double width = static_cast<double>(values[i].size() / problem.positions.size());
    factor = std::max(factor, std::min(bounds::kLambda, std::sqrt(width)));
  }
  return factor;
}

/// Each element is made from one of each operand, or a pair, so moving all of them at once is exact.
bool is_elementwise(const StageProblem& problem) {
  using enum StageKind;
  const StageKind kind = problem.kind;
  return problem.how == nullptr && (kind == embedding || kind == rope || kind == cache || kind == sum ||
                                    kind == product || kind == join || kind == probabilities);
}

/// Whether element `i` of a row is the second of a pair that RoPE turns.
bool is_second(const oracle::RopeShape& shape, size_t i) {
  const size_t in_head = i % static_cast<size_t>(shape.head_dim) - static_cast<size_t>(shape.first);
  return shape.adjacent ? in_head % 2 == 1 : 2 * in_head >= static_cast<size_t>(shape.rope_dims);
}

/// The largest change where one operand is at either end of its bounds; of a pair, at all four.
void carry_by_element(const StageProblem& problem, const Values& values, size_t operand,
                      const Expected& maker, Expected& expected) {
  std::vector<double> most(expected.value.size());
  const int ends = problem.kind == StageKind::rope ? 4 : 2;
  for (int end = 0; end < ends; ++end) {
    std::vector<float> rows(values[operand].begin(), values[operand].end());
    for (size_t j = 0; j < rows.size(); ++j) {
      const bool flip = end >= 2 && is_second(problem.rope, j);
      const double sign = (end % 2 == 0) != flip ? 1 : -1;
      rows[j] = static_cast<float>(rows[j] + sign * maker.bound[j]);
    }
    Values moved = values;
    moved[operand] = std::move(rows);
    const Expected other = compute(problem, moved);
    for (size_t j = 0; j < most.size(); ++j) {
      const double change = std::abs(other.value[j] - expected.value[j]);
      if (std::isfinite(change)) most[j] = std::max(most[j], change);
    }
  }
  for (size_t j = 0; j < most.size(); ++j) expected.bound[j] += most[j];
}

}  // namespace

void carry_bounds(const StageProblem& problem, const Values& values,
                  const std::vector<const Expected*>& makers, Expected& expected) {
  if (is_elementwise(problem)) {
    for (size_t i = 0; i < makers.size(); ++i) {
      if (makers[i] != nullptr) carry_by_element(problem, values, i, *makers[i], expected);
    }
    return;
  }
  constexpr int kDraws = 8;
  std::vector<double> squares(expected.value.size());
  uint64_t state = 0x9e3779b97f4a7c15u;
  for (int draw = 0; draw < kDraws; ++draw) {
    Values moved = values;
    for (size_t i = 0; i < makers.size(); ++i) {
      if (makers[i] == nullptr) continue;
      std::vector<float> rows(values[i].begin(), values[i].end());
      for (size_t j = 0; j < rows.size(); ++j) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double sign = (state >> 63) != 0 ? 1 : -1;
        rows[j] = static_cast<float>(rows[j] + sign * makers[i]->bound[j]);
      }
      moved[i] = std::move(rows);
    }
    const Expected other = compute(problem, moved);
    for (size_t j = 0; j < squares.size(); ++j) {
      const double change = other.value[j] - expected.value[j];
      if (std::isfinite(change)) squares[j] += change * change;
    }
  }
  const double factor = draws_factor(problem, values);
  for (size_t j = 0; j < squares.size(); ++j) expected.bound[j] += factor * std::sqrt(squares[j] / kDraws);
}

bool carry_attention(const StageProblem& problem, const Values& values, const Solved& solved, bool is_operand,
                     Expected& expected) {
  const auto& maker = problem.operands.front().made_by;
  if (maker == nullptr) return false;
  if (problem.kind == StageKind::weights && maker->kind == StageKind::scores) {
    const Expected& scores = solved.at(maker.get());
    const int64_t rows = std::ssize(problem.positions) * problem.attention.n_head;
    if (!is_operand) carry_to_weights(scores, std::ssize(scores.value) / rows, expected);
    return true;
  }
  if (problem.kind != StageKind::mix || maker->kind != StageKind::weights) return false;
  carry_to_mix(problem, values[1],
               {made(*maker, 0, solved), made(problem, 0, solved), made(problem, 1, solved)}, expected);
  return true;
}

}  // namespace greta
