#include "judge/evidence.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>

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

/// What is made apart from others: a row of a prompt at a position; of it a head, where those count.
struct Slice {
  std::string prompt;
  int64_t position = 0, head = 0;
  auto operator<=>(const Slice&) const = default;
};

Slice slice_of(const Observation& seen, int64_t row, int64_t head, bool heads) {
  return {seen.phase->view.cell().prompt, seen.problem->positions[static_cast<size_t>(row)],
          heads ? head : 0};
}

/// Whether each head of a row is computed by itself.
bool heads_are_apart(Stage stage) {
  switch (info(stage).kind) {
    case StageKind::head_norm:
    case StageKind::rope:
    case StageKind::scores:
    case StageKind::weights:
    case StageKind::mix:
    case StageKind::expert_projection:
    case StageKind::head_projection:
    case StageKind::join: return true;
    default: return false;
  }
}

/// Whether each element of a row is computed by itself, from numbers that another does not share.
bool elements_are_apart(Stage stage) {
  const StageKind kind = info(stage).kind;
  return kind == StageKind::sum || kind == StageKind::product || kind == StageKind::embedding;
}

/// The columns from `first` on, every second of those that count.
Evidence every_second(Evidence evidence, int64_t first) {
  for (Observation& seen : evidence.observations) {
    std::vector<char> some(static_cast<size_t>(seen.width), 0);
    for (int64_t i = first; i < seen.width; i += 2) some[static_cast<size_t>(i)] = seen.is_inside(i);
    seen.inside = std::move(some);
  }
  return evidence;
}

/// The bits of a row, or of a head of it.
std::string bits_of(const Observation& seen, int64_t row, int64_t head, bool heads) {
  const int64_t count = heads ? seen.head_width() : seen.width;
  const auto bytes =
      std::as_bytes(std::span(seen.observed)
                        .subspan(static_cast<size_t>(row * seen.width + (heads ? head * count : 0)),
                                 static_cast<size_t>(count)));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The latest slice that is wrong and all that have its bits in some recording: the same token at the same
/// place is no second witness. nullopt where no other slice is wrong.
std::optional<std::set<Slice>> latest_alike(const Evidence& evidence, bool heads) {
  std::map<std::string, std::set<Slice>> by_bits;
  for (const Observation& seen : evidence.observations) {
    for (int64_t row = 0; row < seen.rows; ++row) {
      for (int64_t head = 0; head < seen.heads; ++head) {
        if (seen.is_affected(row, head))
          by_bits[bits_of(seen, row, head, heads)].insert(slice_of(seen, row, head, heads));
      }
    }
  }
  if (by_bits.empty()) return std::nullopt;
  const auto latest = [](const auto& a, const auto& b) { return *a.second.rbegin() < *b.second.rbegin(); };
  const std::set<Slice>& alike = std::ranges::max_element(by_bits, latest)->second;
  const bool all = std::ranges::all_of(
      by_bits, [&](const auto& other) { return std::ranges::includes(alike, other.second); });
  return all ? std::nullopt : std::optional(alike);
}

bool is_any_affected(const Evidence& evidence) {
  return std::ranges::any_of(evidence.observations, [](const Observation& seen) {
    return std::ranges::any_of(seen.affected, [](char affected) { return affected != 0; });
  });
}

/// Where `wanted` says so only these slices count as affected, else all others; recordings without any stay
/// out.
Evidence only(const Evidence& evidence, const std::set<Slice>& slices, bool heads, bool wanted) {
  Evidence some{evidence.model, evidence.at, {}, {}};
  for (Observation seen : evidence.observations) {
    bool any = false;
    for (int64_t row = 0; row < seen.rows; ++row) {
      for (int64_t head = 0; head < seen.heads; ++head) {
        char& affected = seen.affected[static_cast<size_t>(row * seen.heads + head)];
        if (slices.contains(slice_of(seen, row, head, heads)) != wanted) affected = 0;
        any = any || affected != 0;
      }
    }
    if (any) some.observations.push_back(std::move(seen));
  }
  return some;
}

}  // namespace

std::optional<HeldOut> hold_out(const Evidence& evidence) {
  for (const bool heads : {false, true}) {
    if (heads && !heads_are_apart(evidence.at.stage)) break;
    if (const auto held = latest_alike(evidence, heads))
      return HeldOut{.rest = only(evidence, *held, heads, false), .row = only(evidence, *held, heads, true)};
  }
  if (elements_are_apart(evidence.at.stage) && is_any_affected(evidence))
    return HeldOut{.rest = every_second(evidence, 0), .row = every_second(evidence, 1)};
  return std::nullopt;
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
