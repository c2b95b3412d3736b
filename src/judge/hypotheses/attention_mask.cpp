#include "judge/hypotheses/attention_mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "judge/hypotheses/attention_reading.h"
#include "judge/residual_pattern.h"

namespace greta {
namespace {

/// The softmax of scores as another mask leaves them: what is recorded of them may be masked rightly.
Candidate of_masked_scores(const Reading& how, Text title) {
  const auto change = [scores = reading(how, {})](const Observation& seen, StageProblem& weights) {
    std::string why;
    const At at{weights.at.layer, inputs_of(weights.at.stage).front()};
    const auto recorded = subject_of(*seen.phase, at, weights.positions, &why);
    if (!recorded) return false;
    auto masked = std::make_shared<StageProblem>(*recorded->problem);
    scores.change(seen, *masked);
    weights.operands[0] = {{}, std::move(masked)};
    return true;
  };
  return {change, std::move(title)};
}

/// Where scores are masked, or where the softmax does it.
std::vector<Candidate> masked(const Suspect& s, const Reading& how, Text title) {
  if (s.kind() == StageKind::scores) return {reading(how, std::move(title))};
  const bool recorded = s.kind() == StageKind::weights && s.direct &&
                        find_maker(*s.evidence.observations.front().problem, Stage::qk) == nullptr;
  if (recorded) return {of_masked_scores(how, std::move(title))};
  return {};
}

/// The first visible position of rows, when every row sees a run that ends at itself.
std::optional<int64_t> window_seen(const Evidence& evidence) {
  std::optional<int64_t> window;
  for (const Observation& seen : evidence.observations) {
    const int64_t n_pos = seen.head_width();
    for (int64_t row = 0; row < seen.rows; ++row) {
      const int64_t own = seen.problem->positions[static_cast<size_t>(row)];
      if (!seen.is_affected(row, 0)) continue;
      int64_t visible = 0;
      for (int64_t p = 0; p <= own && p < n_pos; ++p)
        visible += std::isfinite(seen.observed[static_cast<size_t>(row * seen.width + p)]);
      if (visible > own || visible < 1) return std::nullopt;
      if (window && *window != visible) return std::nullopt;
      window = visible;
    }
  }
  return window;
}

/// Whether a wrong row shows that there is no window at all: of one just beyond it, a larger window, or one
/// that begins at a tile's edge, makes the same.
bool is_far_beyond(const Evidence& evidence, int64_t window) {
  constexpr int64_t kTile = 16;
  return std::ranges::any_of(evidence.observations, [&](const Observation& seen) {
    for (int64_t row = 0; row < seen.rows; ++row) {
      const int64_t position = seen.problem->positions[static_cast<size_t>(row)];
      if (seen.is_affected(row) && position + 1 - window > std::min(kTile, window)) return true;
    }
    return false;
  });
}

/// What is added to hidden scores, as weights show it: the log of a hidden one's ratio to the largest, less
/// what the scores themselves are apart.
std::optional<double> lowered_by(const Evidence& evidence) {
  double sum = 0, weights = 0;
  Reading all;
  all.visible = [](int64_t, int64_t, int64_t) { return true; };
  for (const Observation& seen : evidence.observations) {
    std::string why;
    const At at{seen.problem->at.layer, inputs_of(seen.problem->at.stage).front()};
    const auto recorded = subject_of(*seen.phase, at, seen.problem->positions, &why);
    if (!recorded) return std::nullopt;
    StageProblem unmasked = *recorded->problem;
    reading(all, {}).change(seen, unmasked);
    const Expected scores = expected_of(unmasked);
    if (scores.value.size() != seen.observed.size()) return std::nullopt;
    const size_t n = static_cast<size_t>(seen.head_width());
    for (size_t begin = 0; begin < seen.observed.size(); begin += n) {
      if (!seen.in_affected(begin)) continue;
      const auto first = seen.observed.begin() + static_cast<std::ptrdiff_t>(begin);
      const size_t top = static_cast<size_t>(std::max_element(first, first + static_cast<std::ptrdiff_t>(n)) -
                                             seen.observed.begin());
      for (size_t i = begin; i < begin + n; ++i) {
        const double seen_here = static_cast<double>(seen.observed[i]);
        if (seen.right.value[i] != 0 || seen.right.value[top] == 0 || seen_here < 1e-12) continue;
        const double ratio = seen_here / static_cast<double>(seen.observed[top]);
        sum += ratio * (std::log(ratio) - scores.value[i] + scores.value[top]);
        weights += ratio;
      }
    }
  }
  const double by = sum / weights;
  return std::isfinite(by) ? std::optional(by) : std::nullopt;
}

/// Which positions each row saw, as zeros of its weights, or masked scores, show; one that is seen by some
/// head counts.
using Sights = std::map<int64_t, std::vector<char>>;  // by the row's own position

Sights sights_of(const Observation& seen) {
  // Smaller weights may be zero for their size.
  constexpr double kVisible = 1e-30;
  const bool weights = seen.problem->kind == StageKind::weights;
  const size_t n_pos = static_cast<size_t>(seen.head_width());
  Sights sights;
  for (int64_t row = 0; row < seen.rows; ++row) {
    const int64_t own = seen.problem->positions[static_cast<size_t>(row)];
    if (!seen.is_affected(row)) continue;
    std::vector<char>& visible = sights[own];
    visible.assign(n_pos, 0);
    for (int64_t head = 0; head < seen.heads; ++head) {
      for (size_t p = 0; p < n_pos; ++p) {
        const size_t i = static_cast<size_t>(row * seen.width + head * seen.head_width()) + p;
        const bool shown = weights ? seen.observed[i] != 0 : std::isfinite(seen.observed[i]);
        const bool too_small = weights && static_cast<int64_t>(p) <= own && seen.right.value[i] < kVisible &&
                               seen.right.value[i] > 0;
        if (shown || too_small) visible[p] = 1;
      }
    }
  }
  return sights;
}

/// Rows with the same positions hidden, or shown, beside the right mask's.
struct SightGroup {
  std::set<int64_t> rows, hidden, shown;
};

std::vector<SightGroup> sight_groups(const Evidence& evidence) {
  const int64_t window = evidence.observations.front().problem->attention.window;
  std::map<std::pair<std::set<int64_t>, std::set<int64_t>>, std::set<int64_t>> groups;
  for (const Observation& seen : evidence.observations) {
    for (const auto& [own, visible] : sights_of(seen)) {
      std::set<int64_t> hidden, shown;
      for (int64_t p = 0; p < std::ssize(visible); ++p) {
        const bool right = p <= own && (window == 0 || p > own - window);
        if (right && visible[static_cast<size_t>(p)] == 0) hidden.insert(p);
        if (!right && visible[static_cast<size_t>(p)] != 0) shown.insert(p);
      }
      if (!hidden.empty() || !shown.empty()) groups[{hidden, shown}].insert(own);
    }
  }
  std::vector<SightGroup> list;
  for (const auto& [sets, rows] : groups) list.push_back({rows, sets.first, sets.second});
  return list;
}

std::string told(const std::vector<SightGroup>& groups, Language language) {
  constexpr size_t kTold = 2;
  const bool en = language == Language::english;
  const auto list = [&](const std::set<int64_t>& positions) { return index_pattern(positions, language); };
  std::string text;
  for (size_t i = 0; i < std::min(kTold, groups.size()); ++i) {
    const SightGroup& group = groups[i];
    text += fmt::format(fmt::runtime(en ? "{}rows at {}" : "{}las filas en {}"), i > 0 ? "; " : "",
                        list(group.rows));
    if (!group.hidden.empty())
      text += fmt::format(fmt::runtime(en ? " do not see {}" : " no ven {}"), list(group.hidden));
    if (!group.shown.empty())
      text += fmt::format(fmt::runtime(en ? "{} see {}" : "{} ven {}"),
                          group.hidden.empty() ? ""
                          : en                 ? ", but"
                                               : ", pero",
                          list(group.shown));
  }
  if (groups.size() > kTold) {
    text += fmt::format(fmt::runtime(en ? "; and so on for {} more sets of rows" : "; y así {} grupos más"),
                        groups.size() - kTold);
  }
  return text;
}

/// Scores that are shown, though hidden, and are zero: of slots that nobody has written yet.
bool is_shown_zero(const Observation& seen, size_t i) {
  return seen.problem->kind == StageKind::scores && seen.observed[i] == 0 && std::isinf(seen.right.value[i]);
}

void keep_shown_zeros(const Observation& seen, StageProblem& problem) {
  problem.how = [how = problem.how, &seen](const StageProblem& p, const Values& values) {
    Expected expected = how(p, values);
    for (size_t i = 0; i < expected.value.size() && i < seen.observed.size(); ++i) {
      if (is_shown_zero(seen, i)) expected.value[i] = expected.bound[i] = 0;
    }
    return expected;
  };
}

}  // namespace

std::vector<Candidate> mask_absent(const Suspect& s) {
  Reading all;
  all.visible = [](int64_t, int64_t, int64_t) { return true; };
  return masked(s, all,
                {"there is no causal mask: rows see later positions",
                 "no hay máscara causal: las filas ven posiciones posteriores"});
}

std::vector<Candidate> mask_offset(const Suspect& s) {
  Reading hides, shows;
  hides.visible = [](int64_t own, int64_t p, int64_t) { return p < own; };
  shows.visible = [](int64_t own, int64_t p, int64_t) { return p <= own + 1; };
  std::vector<Candidate> candidates =
      masked(s, hides,
             {"the mask is off by one: a row does not see itself",
              "la máscara está desplazada en uno: una fila no se ve a sí misma"});
  for (Candidate& other : masked(s, shows,
                                 {"the mask is off by one: a row sees the next position",
                                  "la máscara está desplazada en uno: una fila ve la posición siguiente"}))
    candidates.push_back(std::move(other));
  return candidates;
}

std::vector<Candidate> history_hidden(const Suspect& s) {
  Reading self;
  self.visible = [](int64_t own, int64_t p, int64_t) { return p == own; };
  return masked(s, self,
                {"the history is hidden: a row sees nothing but itself",
                 "el historial está oculto: una fila solo se ve a sí misma"});
}

std::vector<Candidate> window(const Suspect& s) {
  if (s.kind() != StageKind::scores) return {};
  const int64_t own = s.config().layer(s.at.layer).window;
  std::vector<Candidate> candidates;
  const auto add = [&](int64_t size, Text title, int fitted) {
    Reading other;
    other.window = size;
    candidates.push_back(reading(other, std::move(title), fitted));
    candidates.back().counted = true;
  };
  if (own > 0 && is_far_beyond(s.evidence, own)) {
    add(0,
        {fmt::format("the model's window of {} positions is ignored", own),
         fmt::format("se ignora la ventana de {} posiciones del modelo", own)},
        0);
  }
  const auto size = s.direct ? window_seen(s.evidence) : std::nullopt;
  if (!size || *size == 1 || *size == own) return candidates;
  const std::string model_en = own > 0 ? fmt::format("the model's has {}", own) : "the model has none";
  const std::string model_es =
      own > 0 ? fmt::format("la del modelo tiene {}", own) : "el modelo no tiene ninguna";
  add(*size,
      {fmt::format("only a window of {} positions is seen; {}", *size, model_en),
       fmt::format("solo se ve una ventana de {} posiciones; {}", *size, model_es)},
      1);
  return candidates;
}

std::vector<Candidate> mask_finite(const Suspect& s) {
  if (!s.direct || s.kind() != StageKind::weights) return {};
  const auto by = lowered_by(s.evidence);
  if (!by) return {};
  Reading lowered;
  lowered.lowered = *by;
  std::vector<Candidate> candidates = masked(
      s, lowered,
      {fmt::format("hidden positions are not hidden: {:.6g} is added to their scores, not -inf", *by),
       fmt::format("las posiciones ocultas no lo están: a sus scores se les suma {:.6g}, no -inf", *by)});
  for (Candidate& candidate : candidates) candidate.fitted = 1;
  return candidates;
}

std::vector<Candidate> mask_read(const Suspect& s) {
  if (!s.direct || (s.kind() != StageKind::scores && s.kind() != StageKind::weights)) return {};
  const std::vector<SightGroup> groups = sight_groups(s.evidence);
  if (groups.empty()) return {};
  const auto how = [](const Observation& seen) {
    Reading other;
    other.window = 0;
    other.visible = [sights = sights_of(seen)](int64_t own, int64_t p, int64_t) {
      const auto it = sights.find(own);
      return it == sights.end() ? p <= own : it->second[static_cast<size_t>(p)] != 0;
    };
    return other;
  };
  std::vector<Candidate> candidates = masked(s, {}, {});
  for (Candidate& candidate : candidates) {
    candidate.change = [how, s_kind = s.kind()](const Observation& seen, StageProblem& problem) {
      const Candidate one =
          s_kind == StageKind::scores ? reading(how(seen), {}) : of_masked_scores(how(seen), {});
      const bool applies = one.change(seen, problem);
      if (applies && s_kind == StageKind::scores) keep_shown_zeros(seen, problem);
      return applies;
    };
    candidate.title = {"the mask is another: " + told(groups, Language::english),
                       "la máscara es otra: " + told(groups, Language::spanish)};
    candidate.fitted = 3;
    candidate.counted = true;
  }
  return candidates;
}

}  // namespace greta
