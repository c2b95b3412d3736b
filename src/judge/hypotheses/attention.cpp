// Attention as people get it wrong: heads, slots, lengths, masks, scales.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "judge/hypotheses/attention_map.h"
#include "judge/hypotheses/attention_reading.h"
#include "judge/residual_pattern.h"

namespace greta {
namespace {

bool reads_cache(const Suspect& s) { return s.kind() == StageKind::scores || s.kind() == StageKind::mix; }

/// One kernel reads keys and values: what it gets wrong of one, it does of the other.
std::vector<Candidate> of_keys_and_values(const Suspect& s, Candidate one) {
  if (!reads_cache(s)) return {};
  const Observation& seen = s.evidence.observations.front();
  if (find_maker(*seen.problem, Stage::qk) == nullptr) return {std::move(one)};
  const bool keys = s.kind() == StageKind::scores;
  Candidate half = one;
  half.title.en += keys ? " (of keys alone)" : " (of values alone)";
  half.title.es += keys ? " (solo en las claves)" : " (solo en los valores)";
  if (keys) return {std::move(half)};
  one.change = [change = one.change](const Observation& observation, StageProblem& mix) {
    bool applies = change(observation, mix);
    auto& weights = mix.operands[0].made_by;
    weights = with_change(weights, find_maker(mix, Stage::qk),
                          [&](StageProblem& scores) { applies = applies && change(observation, scores); });
    return applies;
  };
  return {std::move(one), std::move(half)};
}

std::vector<Candidate> of_keys_and_values(const Suspect& s, std::vector<Candidate> some) {
  std::vector<Candidate> all;
  for (Candidate& one : some) {
    for (Candidate& candidate : of_keys_and_values(s, std::move(one))) all.push_back(std::move(candidate));
  }
  return all;
}

std::vector<Candidate> head_map(const Suspect& s) {
  Reading mod, first, shifted;
  mod.kv_head = [](int64_t h, const oracle::AttentionShape& a) { return h % a.n_head_kv; };
  first.kv_head = [](int64_t, const oracle::AttentionShape&) { return int64_t{0}; };
  shifted.kv_head = [](int64_t h, const oracle::AttentionShape& a) {
    return (h / (a.n_head / a.n_head_kv) + 1) % a.n_head_kv;
  };
  std::vector<Candidate> candidates = of_keys_and_values(
      s, {reading(mod, {"head h reads KV head h mod n_kv, not h / group",
                        "la cabeza h lee la cabeza KV h mod n_kv, no h / grupo"}),
          reading(first, {"every head reads KV head 0", "cada cabeza lee la cabeza KV 0"}),
          reading(shifted, {"every head reads the next KV head", "cada cabeza lee la siguiente cabeza KV"})});
  for (Candidate& candidate : heads_read(s)) candidates.push_back(std::move(candidate));
  return candidates;
}

std::vector<Candidate> attention_slot(const Suspect& s) {
  std::vector<Candidate> candidates;
  for (const int shift : {1, -1}) {
    Reading off;
    off.slot = [shift](int64_t p) { return p + shift; };
    candidates.push_back(reading(off, {fmt::format("position p reads slot p {:+d}", shift),
                                       fmt::format("la posición p lee la ranura p {:+d}", shift)}));
  }
  candidates = of_keys_and_values(s, std::move(candidates));
  for (Candidate& candidate : slots_read(s)) candidates.push_back(std::move(candidate));
  return candidates;
}

/// Dims of keys in another order than the query's.
std::vector<Candidate> key_dims(const Suspect& s) {
  if (s.kind() != StageKind::scores) return {};
  const int64_t d = s.config().head_dim;
  Reading pairs, halves, backwards;
  pairs.key_dim = [](int64_t i) { return i ^ 1; };
  halves.key_dim = [d](int64_t i) { return (i + d / 2) % d; };
  backwards.key_dim = [d](int64_t i) { return d - 1 - i; };
  std::vector<Candidate> candidates{
      reading(pairs, {"dims 2i and 2i + 1 of keys are exchanged",
                      "las dimensiones 2i y 2i + 1 de las claves están intercambiadas"}),
      reading(halves, {"the halves of keys are exchanged", "las mitades de las claves están intercambiadas"}),
      reading(backwards, {"keys are read backwards", "las claves se leen al revés"})};
  for (int64_t some = 4; some <= d / 2; some *= 2) {
    for (const int64_t first : {d - some, int64_t{0}}) {
      Reading without;
      without.key_dim = [=](int64_t i) { return i >= first && i < first + some ? -1 : i; };
      candidates.push_back(reading(
          without,
          {fmt::format("scores leave out dims {}-{} of {}", first, first + some - 1, d),
           fmt::format("los scores omiten las dimensiones {}-{} de {}", first, first + some - 1, d)}));
    }
  }
  return candidates;
}

/// Scores that are 0 where they ought to be something, or masked.
std::vector<Candidate> zero_scores(const Suspect& s) {
  if (!s.direct || s.kind() != StageKind::scores) return {};
  std::set<int64_t> rows, positions;
  const auto is_zero = [](const Observation& seen, size_t i) {
    return seen.observed[i] == 0 && seen.right.value[i] != 0;
  };
  for (const Observation& seen : s.evidence.observations) {
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      if (!is_zero(seen, i)) continue;
      rows.insert(seen.problem->positions[i / static_cast<size_t>(seen.width)]);
      positions.insert(static_cast<int64_t>(i) % seen.head_width());
    }
  }
  if (rows.empty()) return {};
  const auto change = [is_zero](const Observation& seen, StageProblem& problem) {
    problem.how = [is_zero, &seen](const StageProblem& p, const Values& values) {
      Expected expected = right_of(p, values);
      for (size_t i = 0; i < expected.value.size() && i < seen.observed.size(); ++i) {
        if (is_zero(seen, i)) expected.value[i] = expected.bound[i] = 0;
      }
      return expected;
    };
    return true;
  };
  const auto text = [&](const char* form, Language language) {
    return fmt::format(fmt::runtime(form), index_pattern(positions, language), index_pattern(rows, language));
  };
  Candidate candidate{
      change,
      {text("scores are 0, not made or not masked: of positions {} in rows at {}", Language::english),
       text("hay scores a 0, ni calculados ni enmascarados: de las posiciones {} en las filas {}",
            Language::spanish)},
      3};
  candidate.counted = candidate.may_be_empty = true;
  return {candidate};
}

/// The whole cache of layer `other`, as far as this problem reads.
std::optional<SharedRows> cache_of(int other, const Observation& seen, const StageProblem& problem) {
  const Stage cache = inputs_of(problem.at.stage)[1];
  const size_t width = static_cast<size_t>(row_width(cache, problem.model->config, 0));
  std::vector<int64_t> all(problem.operands[1].values.size() / width);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  if (all.empty()) return std::nullopt;
  return recorded_rows(*seen.phase, {other, cache}, all);
}

/// A recording of the cache as it was read may hold another layer's keys, values or both.
std::vector<Candidate> holds_layers_rows(const Suspect& s, int other) {
  struct Part {
    bool keys, values;
    Text what;
  };
  static const std::array<Part, 3> kParts{{{true, true, {"keys and values", "claves y valores"}},
                                           {true, false, {"keys", "claves"}},
                                           {false, true, {"values", "valores"}}}};
  std::vector<Candidate> candidates;
  for (const Part& part : kParts) {
    const auto change = [part, other](const Observation& seen, StageProblem& problem) {
      const auto rows = recorded_rows(*seen.phase, {other, problem.at.stage}, problem.positions);
      if (!rows) return false;
      problem.how = [part, rows = *rows](const StageProblem& p, const Values& values) {
        Expected expected = right_of(p, values);
        const size_t half = expected.value.size() / p.positions.size() / 2;
        for (size_t i = 0; i < expected.value.size(); ++i) {
          if (i / half % 2 == 0 ? !part.keys : !part.values) continue;
          expected.value[i] = static_cast<double>(rows[i]);
          expected.bound[i] = 0;
        }
        return expected;
      };
      return true;
    };
    candidates.push_back(
        {change,
         {fmt::format("layer {}'s {} are in the cache of layer {}", other, part.what.en, s.at.layer),
          fmt::format("en la caché de la capa {} están las {} de la capa {}", s.at.layer, part.what.es,
                      other)}});
  }
  return candidates;
}

std::vector<Candidate> wrong_layer_cache(const Suspect& s) {
  std::vector<Candidate> candidates;
  for (int other = 0; other < s.config().n_layer; ++other) {
    if (other == s.at.layer) continue;
    if (s.kind() == StageKind::cache && s.direct) {
      for (Candidate& part : holds_layers_rows(s, other)) candidates.push_back(std::move(part));
    }
    if (!reads_cache(s)) continue;
    candidates.push_back(from_rows(
        1, [other](const Observation& seen, const StageProblem& p) { return cache_of(other, seen, p); },
        {fmt::format("layer {}'s cache is read", other),
         fmt::format("se lee la caché de la capa {}", other)}));
  }
  return s.kind() == StageKind::cache ? candidates : of_keys_and_values(s, std::move(candidates));
}

/// The softmax then runs over what is left.
std::vector<Candidate> first_tile_left_out(const Suspect& s) {
  if (s.kind() != StageKind::scores || s.direct) return {};
  std::vector<Candidate> candidates;
  for (const int64_t tile : {16, 32, 64, 128, 256}) {
    Reading later;
    later.visible = [tile](int64_t own, int64_t p, int64_t) { return p <= own && (p >= tile || own < tile); };
    candidates.push_back(reading(later, {fmt::format("the first tile of {} positions is not read", tile),
                                         fmt::format("no se leen las primeras {} posiciones", tile)}));
  }
  return candidates;
}

std::vector<Candidate> kv_length(const Suspect& s) {
  std::vector<Candidate> candidates = first_tile_left_out(s);
  Reading shorter, page;
  shorter.visible = [](int64_t own, int64_t p, int64_t n_pos) { return p <= own && p < n_pos - 1; };
  page.visible = [](int64_t own, int64_t p, int64_t n_pos) { return p <= own && p < n_pos / 16 * 16; };
  for (Candidate& candidate : of_keys_and_values(
           s, {reading(shorter,
                       {"the cache is read one position short", "la caché se lee con una posición de menos"}),
               reading(page, {"the last page of 16 positions is not read",
                              "no se lee la última página de 16 posiciones"})}))
    candidates.push_back(std::move(candidate));
  return candidates;
}

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

/// Whether a wrong row shows that there is no window at all: of one just beyond it, a larger window, or one that
/// begins at a tile's edge, makes the same.
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

/// The mask as the rows show it: what they make of the positions that they see must be right.
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
      return one.change(seen, problem);
    };
    candidate.title = {"the mask is another: " + told(groups, Language::english),
                       "la máscara es otra: " + told(groups, Language::spanish)};
    candidate.fitted = 3;
    candidate.counted = true;
  }
  return candidates;
}

std::vector<Candidate> head_order(const Suspect& s) {
  if (s.kind() != StageKind::mix) return {};
  return {changed_afterwards(
      [](const StageProblem& p, const Values&, Expected& expected) {
        const Expected right = expected;
        const size_t heads = static_cast<size_t>(p.attention.n_head);
        const size_t d = static_cast<size_t>(p.attention.head_dim), row = heads * d;
        for (size_t i = 0; i < right.value.size(); ++i) {
          const size_t begin = i / row * row, head = i % row / d, dim = i % d;
          expected.value[begin + dim * heads + head] = right.value[i];
          expected.bound[begin + dim * heads + head] = right.bound[i];
        }
      },
      {"heads and dims are exchanged in the output: [head_dim][n_head]",
       "cabezas y dimensiones están intercambiadas en la salida: [head_dim][n_head]"})};
}

constexpr const char* kHeads = "B3.21 of the founding engine (n_kv against n_q heads)";

const std::array<Hypothesis, 13> kAttention{{
    {"head_map",
     {"query heads read the wrong KV heads", "las cabezas leen cabezas KV equivocadas"},
     kHeads,
     head_map},
    {"attention_slot",
     {"positions read the neighbouring slot of the cache",
      "las posiciones leen la ranura vecina de la caché"},
     "https://github.com/gittensor-ai-lab/sparkinfer/issues/289",
     attention_slot},
    {"key_dims",
     {"dims of keys meet other dims of the query",
      "dimensiones de las claves se cruzan con otras de la consulta"},
     kHeads,
     key_dims},
    {"zero_scores",
     {"scores are 0 where they were not made, or not masked",
      "hay scores a 0 donde no se calcularon o enmascararon"},
     "https://github.com/vllm-project/vllm/issues/3385",
     zero_scores},
    {"wrong_layer_cache",
     {"another layer's cache is read", "se lee la caché de otra capa"},
     "B3.25 of the founding engine (per-layer slices)",
     wrong_layer_cache},
    {"kv_length",
     {"the cache is read with a wrong length", "la caché se lee con una longitud errónea"},
     "https://github.com/pegainfer-project/pegainfer/issues/291",
     kv_length},
    {"mask_absent",
     {"there is no causal mask", "no hay máscara causal"},
     "https://github.com/Mikyx-1/TinyLLM/pull/18",
     mask_absent},
    {"mask_offset",
     {"the causal mask is off by one", "la máscara causal está desplazada en uno"},
     "https://github.com/hyprstream/hyprstream/pull/1521",
     mask_offset},
    {"history_hidden",
     {"the history is masked out", "el historial queda oculto por la máscara"},
     "https://github.com/hyprstream/hyprstream/pull/1521",
     history_hidden},
    {"window",
     {"another window than the model's, or none, or one too many; it is estimated",
      "una ventana distinta de la del modelo, o ninguna, o una de más; su tamaño se estima"},
     "https://github.com/vllm-project/vllm/issues/3385",
     window},
    {"mask_finite",
     {"hidden scores are lowered by a finite number, which is estimated",
      "a los scores ocultos se les resta un número finito, que se estima"},
     "https://github.com/huggingface/transformers/issues/14859",
     mask_finite},
    {"mask_read",
     {"rows see other positions than the mask's; these are read from their values",
      "las filas ven posiciones distintas de las de la máscara; se deducen de sus valores"},
     "https://github.com/vllm-project/vllm/issues/3385",
     mask_read},
    {"head_order",
     {"heads and dims are exchanged in attention's output",
      "cabezas y dimensiones están intercambiadas en la salida de la atención"},
     kHeads,
     head_order},
}};

}  // namespace

std::span<const Hypothesis> attention_hypotheses() { return kAttention; }

}  // namespace greta
