#include "judge/observation.h"

#include <algorithm>
#include <cmath>

#include "numerics/noise.h"

namespace greta {
namespace {

constexpr double kUnitSize = 10;  // noise ratios up to this may be a matrix unit's rounding by another rule

void mark_affected(Observation& seen) {
  seen.affected.assign(static_cast<size_t>(seen.rows * seen.heads), 0);
  for (size_t i = 0; i < seen.observed.size(); ++i) {
    if (seen.is_wrong(i)) seen.affected[i / static_cast<size_t>(seen.head_width())] = 1;
  }
}

/// Some rows of all; what is empty stays so.
std::vector<double> picked(const std::vector<double>& all, const std::vector<size_t>& rows, size_t width) {
  std::vector<double> some;
  for (size_t i = 0; i < rows.size() && !all.empty(); ++i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rows[i] * width);
    some.insert(some.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
  }
  return some;
}

/// The rows' part of what was expected of all. Over a gap the bounds depend on which rows are made together.
Expected part_of(const Observation& all, const StageProblem& some) {
  if (!all.gap.empty()) return expected_of(some);
  std::vector<size_t> rows;
  const std::vector<int64_t>& there = all.problem->positions;
  for (const int64_t position : some.positions)
    rows.push_back(static_cast<size_t>(std::find(there.begin(), there.end(), position) - there.begin()));
  const size_t width = static_cast<size_t>(all.width);
  return {picked(all.right.value, rows, width), picked(all.right.bound, rows, width),
          picked(all.right.drift, rows, width), picked(all.right.spread, rows, width)};
}

}  // namespace

bool Observation::is_affected(int64_t row) const {
  for (int64_t head = 0; head < heads; ++head) {
    if (is_affected(row, head)) return true;
  }
  return false;
}

bool Observation::is_wrong(size_t i) const {
  const double value = right.value[i], seen = static_cast<double>(observed[i]);
  if (seen == value || !right.tells(i)) return false;
  return !(std::abs(seen - value) <= right.bound[i]);
}

Observation observe(const PhaseRecord& phase, At at, Trial trial) {
  Observation seen;
  seen.phase = &phase;
  seen.right = std::move(trial.right);
  seen.problem = std::move(trial.subject.problem);
  seen.observed = std::move(trial.subject.observed);
  seen.gap = std::move(trial.subject.gap);
  seen.rows = std::ssize(seen.problem->positions);
  seen.width = std::ssize(seen.observed) / seen.rows;
  seen.heads = row_heads(at.stage, phase.model->config);
  mark_affected(seen);
  // Errors that only all outputs together show are everywhere.
  const double most = noise_ratio(seen.observed, seen.right).max;
  if (most <= 1 && bias_of(*seen.problem, seen.observed, seen.right).ratio > 1)
    std::fill(seen.affected.begin(), seen.affected.end(), char{1});
  seen.of_unit_size = !seen.right.spread.empty() && most <= kUnitSize;
  return seen;
}

std::optional<Observation> rows_at(const Observation& all, At at, const std::vector<int64_t>& positions) {
  std::string why;
  std::optional<Subject> subject = subject_of(*all.phase, at, positions, &why);
  if (!subject) return std::nullopt;
  Expected right = part_of(all, *subject->problem);
  if (right.value.size() != subject->observed.size()) return std::nullopt;
  return observe(*all.phase, at, {std::move(*subject), std::move(right)});
}

double element_error(float observed, double value, double gross) {
  const double seen = static_cast<double>(observed);
  if (seen == value || (std::isnan(seen) && std::isnan(value))) return 0;
  const double error = std::abs(seen - value);
  return std::isfinite(error) ? std::min(error, 1e3 * gross) : gross;
}

double gross_error(const Observation& observation) {
  double largest = 0;
  for (size_t i = 0; i < observation.observed.size(); ++i) {
    for (const double value : {static_cast<double>(observation.observed[i]), observation.right.value[i]}) {
      if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
    }
  }
  return largest > 0 ? largest : 1;
}

}  // namespace greta
