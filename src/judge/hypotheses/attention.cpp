// Attention as people get it wrong: heads, slots, lengths, masks, scales.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "judge/hypotheses/attention_map.h"
#include "judge/hypotheses/attention_mask.h"
#include "judge/hypotheses/attention_reading.h"
#include "judge/hypotheses/attention_rows.h"
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
  struct Order {
    std::function<int64_t(int64_t)> dim;
    const char *en, *es;
  };
  const std::array<Order, 6> orders{{
      {[](int64_t i) { return i ^ 1; }, "dims 2i and 2i + 1 of keys are exchanged",
       "las dimensiones 2i y 2i + 1 de las claves están intercambiadas"},
      {[d](int64_t i) { return (i + d / 2) % d; }, "the halves of keys are exchanged",
       "las mitades de las claves están intercambiadas"},
      {[d](int64_t i) { return d - 1 - i; }, "keys are read backwards", "las claves se leen al revés"},
      {[d](int64_t i) { return i % 2 * (d / 2) + i / 2; },
       "dim 2i + h of queries meets dim i of half h of keys",
       "la dimensión 2i + h de las consultas se cruza con la i de la mitad h de las claves"},
      {[d](int64_t i) { return i % (d / 2) * 2 + i / (d / 2); },
       "dim i of half h of queries meets dim 2i + h of keys",
       "la dimensión i de la mitad h de las consultas se cruza con la 2i + h de las claves"},
      {[d](int64_t i) { return (i + 1) % d; }, "dim i of queries meets dim i + 1 of keys",
       "la dimensión i de las consultas se cruza con la i + 1 de las claves"},
  }};
  std::vector<Candidate> candidates;
  for (const Order& order : orders) {
    Reading other;
    other.key_dim = order.dim;
    candidates.push_back(reading(other, {order.en, order.es}));
  }
  for (int64_t mask = 2; mask < d / 2; mask *= 2) {
    Reading other;
    other.key_dim = [mask](int64_t i) { return i ^ mask; };
    candidates.push_back(reading(
        other, {fmt::format("dims i and i xor {} of keys are exchanged", mask),
                fmt::format("las dimensiones i e i xor {} de las claves están intercambiadas", mask)}));
  }
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
  for (Candidate& candidate : dims_read(s)) candidates.push_back(std::move(candidate));
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
  const size_t width = static_cast<size_t>(row_width({problem.at.layer, cache}, problem.model->config, 0));
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

const std::array<Hypothesis, 16> kAttention{{
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
    {"keys_before_rope",
     {"scores are made with keys before RoPE, while the cache is right",
      "los scores se hacen con claves anteriores a RoPE, y la caché es correcta"},
     "https://github.com/paiml/realizar/issues/94",
     keys_before_rope},
    {"cache_half",
     {"values are read where keys belong, or keys where values do",
      "se leen valores en lugar de claves, o claves en lugar de valores"},
     "made up: no public report in the catalogue",
     other_half_read},
    {"rope_added",
     {"RoPE in a layer that has none", "RoPE en una capa que no lleva"},
     "made up: no public report in the catalogue",
     rope_added},
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
