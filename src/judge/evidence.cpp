#include "judge/evidence.h"

#include <algorithm>
#include <set>

namespace greta {
namespace {

constexpr size_t kMaxObservations = 6;
constexpr size_t kRowsOfEach = 4;

/// A few of the wrong rows, from the first to the last, and of those that are right.
std::vector<int64_t> telling_rows(const Observation& seen) {
  std::vector<int64_t> wrong, right;
  for (int64_t row = 0; row < seen.rows; ++row)
    (seen.is_affected(row) ? wrong : right).push_back(seen.problem->positions[static_cast<size_t>(row)]);
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

std::optional<Sighting> sighting_of(const PhaseRecord& phase, At at, Trial trial) {
  Observation all = observe(phase, at, std::move(trial));
  const std::vector<int64_t> rows = telling_rows(all);
  if (rows.empty()) return std::nullopt;
  Sighting sighting;
  sighting.pattern.add(all);
  if (info(at.stage).kind == StageKind::cache || std::ssize(rows) == all.rows) {
    sighting.telling = std::move(all);
  } else if (auto some = rows_at(all, at, rows)) {
    sighting.telling = std::move(*some);
  }
  return sighting;
}

Evidence gather_evidence(const std::vector<Witness>& witnesses, At at) {
  Evidence evidence;
  evidence.model = witnesses.empty() ? nullptr : witnesses.front().phase->model;
  evidence.at = at;
  std::set<const Sighting*> known;
  ResidualPattern pattern;
  for (const auto& [phase, sighting] : witnesses) {
    if (evidence.observations.size() == kMaxObservations) break;
    if (sighting == nullptr || !known.insert(sighting).second) continue;
    pattern.add(sighting->pattern);
    if (sighting->telling.rows == 0) continue;
    // Equal data of another phase are that phase's here.
    evidence.observations.push_back(sighting->telling);
    evidence.observations.back().phase = phase;
  }
  for (const Language language : {Language::english, Language::spanish})
    (language == Language::english ? evidence.pattern.en : evidence.pattern.es) = pattern.text(language);
  return evidence;
}

}  // namespace greta
