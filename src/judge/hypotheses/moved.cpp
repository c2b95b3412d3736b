#include "judge/hypotheses/moved.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace greta {
namespace {

/// Which element of the right row element j of a row holds.
using From = std::function<int64_t(int64_t j)>;

/// One row, its wrong elements, and the right values in ascending order.
struct MovedRow {
  const Observation& seen;
  size_t begin;
  std::vector<int64_t> wrong;
  std::vector<int64_t> by_value;

  double right(int64_t j) const { return seen.right.value[begin + static_cast<size_t>(j)]; }
  double bound(int64_t j) const { return seen.right.bound[begin + static_cast<size_t>(j)]; }
  double observed(int64_t j) const {
    return static_cast<double>(seen.observed[begin + static_cast<size_t>(j)]);
  }
  bool holds(int64_t j, int64_t from) const { return std::abs(observed(j) - right(from)) <= bound(from); }
};

/// The wrong row at the highest position: at position 0 heads that share a KV head mix the same.
std::optional<MovedRow> wrong_row_of(const Suspect& s) {
  constexpr size_t kMost = 256;
  const Observation* best = nullptr;
  int64_t best_row = 0, best_position = -1;
  for (const Observation& seen : s.evidence.observations) {
    for (int64_t row = 0; row < seen.rows; ++row) {
      const int64_t position = seen.problem->positions[static_cast<size_t>(row)];
      if (!seen.is_affected(row) || position <= best_position) continue;
      best = &seen;
      best_row = row;
      best_position = position;
    }
  }
  if (best == nullptr) return std::nullopt;
  MovedRow one{*best, static_cast<size_t>(best_row * best->width), {}, {}};
  for (int64_t j = 0; j < best->width; ++j) {
    const size_t i = one.begin + static_cast<size_t>(j);
    if (best->in_affected(i) && best->is_wrong(i)) one.wrong.push_back(j);
    if (std::isfinite(one.right(j))) one.by_value.push_back(j);
  }
  if (one.wrong.size() < 2) return std::nullopt;
  if (one.wrong.size() > kMost) {
    for (size_t i = 0; i < kMost; ++i) one.wrong[i] = one.wrong[i * one.wrong.size() / kMost];
    one.wrong.resize(kMost);
  }
  std::ranges::sort(one.by_value, {}, [&](int64_t j) { return one.right(j); });
  return one;
}

/// Visits the elements whose right value element j may hold.
void each_source(const MovedRow& row, int64_t j, const auto& visit) {
  const double value = row.observed(j);
  auto it = std::ranges::lower_bound(row.by_value, value, {}, [&](int64_t i) { return row.right(i); });
  for (auto up = it; up != row.by_value.end() && row.holds(j, *up); ++up) visit(*up);
  while (it != row.by_value.begin() && row.holds(j, *--it)) visit(*it);
}

bool is_rule(size_t count, const MovedRow& row) { return 10 * count >= 9 * row.wrong.size(); }

struct Rule {
  From from;
  Text title;
};

/// j + by, or j xor by, of nearly all.
std::optional<Rule> shift_or_exchange(const MovedRow& row, std::string_view stage) {
  std::map<int64_t, size_t> shifts, exchanges;
  for (const int64_t j : row.wrong) {
    each_source(row, j, [&](int64_t from) {
      ++shifts[from - j];
      ++exchanges[from ^ j];
    });
  }
  const int64_t width = row.seen.width;
  for (const auto& [mask, count] : exchanges) {
    const int64_t by = mask;
    // Of an exchange both are wrong.
    const auto with_other = std::ranges::count_if(row.wrong, [&](int64_t j) {
      const int64_t other = j ^ by;
      return other < row.seen.width && row.seen.is_wrong(row.begin + static_cast<size_t>(other));
    });
    if (by == 0 || !is_rule(count, row) || !is_rule(static_cast<size_t>(with_other), row)) continue;
    return Rule{[=](int64_t j) { return (j ^ by) < width ? j ^ by : j; },
                {by == 1 ? fmt::format("elements 2i and 2i + 1 of {} are exchanged", stage)
                         : fmt::format("elements j and j xor {} of {} are exchanged", by, stage),
                 by == 1 ? fmt::format("los elementos 2i y 2i + 1 de {} están intercambiados", stage)
                         : fmt::format("los elementos j y j xor {} de {} están intercambiados", by, stage)}};
  }
  for (const auto& [shift, count] : shifts) {
    const int64_t by = shift;
    if (by == 0 || !is_rule(count, row)) continue;
    return Rule{[=](int64_t j) { return j + by >= 0 && j + by < width ? j + by : j; },
                {fmt::format("element j of {} holds what belongs in element j {:+d}", stage, by),
                 fmt::format("el elemento j de {} contiene lo que va en el elemento j {:+d}", stage, by)}};
  }
  for (const auto& [mask, count] : exchanges) {
    const int64_t by = mask;
    if (by == 0 || !is_rule(count, row)) continue;
    return Rule{[=](int64_t j) { return (j ^ by) < width ? j ^ by : j; },
                {fmt::format("element j of {} holds what belongs in element j xor {}", stage, by),
                 fmt::format("el elemento j de {} contiene lo que va en el elemento j xor {}", stage, by)}};
  }
  return std::nullopt;
}

/// Runs that hold one of their elements' value everywhere.
std::optional<Rule> repeated(const MovedRow& row, std::string_view stage) {
  for (int64_t run = 2; run <= row.seen.width / 2; run *= 2) {
    for (const int64_t place : {int64_t{0}, run - 1}) {
      const int64_t last = row.seen.width - 1;
      const From from = [=](int64_t j) { return std::min(j / run * run + place, last); };
      const auto held = std::ranges::count_if(row.wrong, [&](int64_t j) { return row.holds(j, from(j)); });
      if (!is_rule(static_cast<size_t>(held), row)) continue;
      const char *en = place == 0 ? "every {} elements of {} hold the first one's value"
                                  : "every {} elements of {} hold the last one's value",
                 *es = place == 0 ? "cada {} elementos de {} contienen el valor del primero"
                                  : "cada {} elementos de {} contienen el valor del último";
      return Rule{from,
                  {fmt::format(fmt::runtime(en), run, stage), fmt::format(fmt::runtime(es), run, stage)}};
    }
  }
  return std::nullopt;
}

/// Heads that hold other heads' values.
std::optional<Rule> between_heads(const MovedRow& row, const Suspect& s) {
  const bool cache = s.kind() == StageKind::cache;
  const int64_t d = row.seen.head_width(), heads = row.seen.heads;
  if (heads < 2) return std::nullopt;
  std::map<int64_t, std::map<int64_t, size_t>> votes;
  std::map<int64_t, size_t> asked;
  for (const int64_t j : row.wrong) {
    ++asked[j / d];
    for (int64_t other = 0; other < heads; ++other) votes[j / d][other] += row.holds(j, other * d + j % d);
  }
  std::map<int64_t, int64_t> holds;
  std::string en, es;
  for (const auto& [head, others] : votes) {
    const auto best = std::ranges::max_element(others, {}, [](const auto& vote) { return vote.second; });
    if (best->first == head || 10 * best->second < 9 * asked[head]) return std::nullopt;
    holds[head] = best->first;
    en += en.empty() ? "" : ", ";
    es += es.empty() ? "" : ", ";
    const int64_t keys = cache ? heads / 2 : heads;
    const auto part = [&](int64_t h, const char* key, const char* value) {
      return !cache ? fmt::format("{}", h) : fmt::format("{} ({})", h % keys, h < keys ? key : value);
    };
    en += fmt::format("head {} of {} holds head {}'s", part(head, "keys", "values"), s.name(),
                      part(best->first, "keys", "values"));
    es += fmt::format("la cabeza {} de {} contiene la {}", part(head, "claves", "valores"), s.name(),
                      part(best->first, "claves", "valores"));
  }
  return Rule{[=](int64_t j) {
                const auto it = holds.find(j / d);
                return it == holds.end() ? j : it->second * d + j % d;
              },
              {en, es}};
}

Candidate moved_by(Rule rule) {
  const auto change = [from = std::move(rule.from)](const StageProblem& p, const Values&,
                                                    Expected& expected) {
    const Expected right = expected;
    const int64_t width = std::ssize(right.value) / std::ssize(p.positions);
    for (int64_t i = 0; i < std::ssize(right.value); ++i) {
      const size_t source = static_cast<size_t>(i / width * width + from(i % width));
      expected.value[static_cast<size_t>(i)] = right.value[source];
      expected.bound[static_cast<size_t>(i)] = right.bound[source];
    }
  };
  Candidate candidate = changed_afterwards(change, std::move(rule.title), 1);
  candidate.counted = true;  // one rule, of many elements
  return candidate;
}

}  // namespace

std::vector<Candidate> moved_outputs(const Suspect& s) {
  const StageKind kind = s.kind();
  if (!s.direct || kind == StageKind::scores || kind == StageKind::weights) return {};
  const std::optional<MovedRow> row = wrong_row_of(s);
  if (!row) return {};
  std::vector<Candidate> candidates;
  // The simpler words first: a shift by heads is told as theirs.
  auto rule = between_heads(*row, s);
  if (!rule) rule = shift_or_exchange(*row, s.name());
  if (!rule) rule = repeated(*row, s.name());
  if (rule) candidates.push_back(moved_by(*rule));
  return candidates;
}

}  // namespace greta
