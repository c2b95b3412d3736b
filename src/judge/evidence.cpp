#include "judge/evidence.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

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

/// Of an input: prompt and position.
using RowKey = std::pair<std::string, int64_t>;

RowKey key_of(const Observation& seen, int64_t row) {
  return {seen.phase->view.cell().prompt, seen.problem->positions[static_cast<size_t>(row)]};
}

/// Only the rows that `wanted` wants count as affected; recordings without one stay out.
Evidence only(const Evidence& evidence, const std::function<bool(const RowKey&)>& wanted) {
  Evidence some{evidence.model, evidence.at, {}, {}};
  for (const Observation& all : evidence.observations) {
    Observation seen = all;
    bool any = false;
    for (int64_t row = 0; row < seen.rows; ++row) {
      const auto heads = seen.affected.begin() + row * seen.heads;
      if (!wanted(key_of(seen, row))) std::fill_n(heads, seen.heads, char{0});
      any = any || seen.is_affected(row);
    }
    if (any) some.observations.push_back(std::move(seen));
  }
  return some;
}

}  // namespace

std::optional<HeldOut> hold_out(const Evidence& evidence) {
  std::set<RowKey> keys;
  for (const Observation& seen : evidence.observations) {
    for (int64_t row = 0; row < seen.rows; ++row) {
      if (seen.is_affected(row)) keys.insert(key_of(seen, row));
    }
  }
  if (keys.size() < 2) return std::nullopt;
  const RowKey last = *keys.rbegin();
  return HeldOut{only(evidence, [&](const RowKey& key) { return key != last; }),
                 only(evidence, [&](const RowKey& key) { return key == last; })};
}

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
