#include "judge/evidence.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "judge/residual_pattern.h"
#include "numerics/noise.h"

namespace greta {
namespace {

constexpr size_t kMaxObservations = 6;
constexpr size_t kRowsOfEach = 4;
constexpr double kUnitSize = 10;  // noise ratios up to this may be a matrix unit's rounding by another rule

bool beyond(float observed, double value, double bound) {
  if (static_cast<double>(observed) == value || (std::isnan(observed) && std::isnan(value))) return false;
  return !(std::abs(static_cast<double>(observed) - value) <= bound);
}

void mark_affected(Observation& seen) {
  seen.affected.assign(static_cast<size_t>(seen.rows * seen.heads), 0);
  for (size_t i = 0; i < seen.observed.size(); ++i) {
    if (beyond(seen.observed[i], seen.right.value[i], seen.right.bound[i])) {
      seen.affected[i / static_cast<size_t>(seen.head_width())] = 1;
    }
  }
}

std::optional<Observation> observe(const PhaseRecord& phase, At at, const std::vector<int64_t>& positions) {
  std::string why;
  std::optional<Subject> subject = subject_of(phase, at, positions, &why);
  if (!subject) return std::nullopt;
  Observation seen;
  seen.phase = &phase;
  seen.right = expected_of(*subject->problem);
  if (seen.right.value.size() != subject->observed.size()) return std::nullopt;
  seen.problem = std::move(subject->problem);
  seen.observed = std::move(subject->observed);
  seen.gap = std::move(subject->gap);
  seen.rows = std::ssize(positions);
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

/// A few of the wrong rows, from the first to the last, and of those that are right.
std::vector<int64_t> telling_rows(const Observation& seen) {
  std::vector<int64_t> wrong, right;
  for (int64_t row = 0; row < seen.rows; ++row) {
    bool any = false;
    for (int64_t head = 0; head < seen.heads; ++head) any |= seen.is_affected(row, head);
    (any ? wrong : right).push_back(seen.problem->positions[static_cast<size_t>(row)]);
  }
  if (wrong.empty()) return wrong;
  std::vector<int64_t> some = wrong;
  if (wrong.size() > kRowsOfEach) {
    some.clear();
    for (size_t i = 0; i < kRowsOfEach; ++i)
      some.push_back(wrong[i * (wrong.size() - 1) / (kRowsOfEach - 1)]);
  }
  if (!right.empty()) some.push_back(right.front());
  if (right.size() > 1) some.push_back(right.back());
  std::sort(some.begin(), some.end());
  return some;
}

}  // namespace

Evidence gather_evidence(const std::vector<const PhaseRecord*>& phases, At at) {
  Evidence evidence;
  evidence.model = phases.empty() ? nullptr : phases.front()->model;
  evidence.at = at;
  std::set<std::string> known;
  ResidualPattern pattern;
  for (const PhaseRecord* phase : phases) {
    if (evidence.observations.size() == kMaxObservations) break;
    if (phase->view.find(at) == nullptr || !known.insert(judgement_key(*phase, at)).second) continue;
    std::optional<Observation> all = observe(*phase, at, judged_positions(*phase, at));
    if (!all) continue;
    const std::vector<int64_t> rows = telling_rows(*all);
    if (rows.empty()) continue;
    pattern.add(*all);
    // The cache is judged as a whole: what a row holds may be another row's.
    if (info(at.stage).kind == StageKind::cache || rows.size() == static_cast<size_t>(all->rows)) {
      evidence.observations.push_back(std::move(*all));
    } else if (auto some = observe(*phase, at, rows)) {
      evidence.observations.push_back(std::move(*some));
    }
  }
  evidence.pattern_en = pattern.text(false);
  evidence.pattern_es = pattern.text(true);
  return evidence;
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
