// Attention as people get it wrong: heads, slots, lengths, masks, scales.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "judge/hypotheses/hypothesis.h"

namespace greta {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

/// What may be wrong about reading the cache. Functions that are not set do what is right.
struct Reading {
  std::function<int64_t(int64_t head, const oracle::AttentionShape&)> kv_head;
  int64_t slot_shift = 0;  // position p reads slot p + shift, inside the cache
  /// Whether the row at `own` sees `p`, in a cache of n_pos.
  std::function<bool(int64_t own, int64_t p, int64_t n_pos)> visible;
  std::optional<double> scale;
  std::optional<int64_t> window;             // 0: none
  std::function<double(double)> after = {};  // of a scaled score
};

bool sees(const Reading& reading, const oracle::AttentionShape& shape, int64_t own, int64_t p,
          int64_t n_pos) {
  const int64_t window = reading.window.value_or(shape.window);
  if (window > 0 && p <= own - window) return false;
  return reading.visible ? reading.visible(own, p, n_pos) : p <= own;
}

int64_t kv_head_of(const Reading& reading, int64_t head, const oracle::AttentionShape& shape) {
  return reading.kv_head ? reading.kv_head(head, shape) : head / (shape.n_head / shape.n_head_kv);
}

int64_t slots_of(const oracle::AttentionShape& shape, std::span<const float> cache) {
  return std::ssize(cache) / (2 * shape.n_head_kv * shape.head_dim);
}

/// A cache [n_pos, 2 * n_head_kv * head_dim] as it is read: [n_pos, 2 * n_head * head_dim], each query head's
/// own keys, then values.
std::vector<float> as_read(std::span<const float> cache, const oracle::AttentionShape& shape,
                           const Reading& reading) {
  const int64_t n_pos = slots_of(shape, cache), d = shape.head_dim;
  std::vector<float> read;
  for (int64_t p = 0; p < n_pos; ++p) {
    const int64_t slot = std::clamp<int64_t>(p + reading.slot_shift, 0, n_pos - 1);
    for (const int64_t half : {0, 1}) {
      for (int64_t head = 0; head < shape.n_head; ++head) {
        const int64_t from = ((2 * slot + half) * shape.n_head_kv + kv_head_of(reading, head, shape)) * d;
        read.insert(read.end(), cache.begin() + from, cache.begin() + from + d);
      }
    }
  }
  return read;
}

/// The scores of all positions, then the mask.
Expected scores(StageProblem p, const Values& values, const Reading& reading, int64_t n_pos) {
  const std::vector<int64_t> own = p.positions;
  for (size_t row = 0; row < own.size(); ++row) p.positions[row] = n_pos + static_cast<int64_t>(row);
  const oracle::AttentionShape shape = p.attention;
  p.attention.window = 0;
  Expected expected = right_of(p, values);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i) % n_pos;
    const size_t row = i / static_cast<size_t>(n_pos * shape.n_head);
    if (reading.after) {
      expected.value[i] = reading.after(expected.value[i]);
      expected.bound[i] += 8 * bounds::kU * std::abs(expected.value[i]);
    }
    if (sees(reading, shape, own[row], at, n_pos)) continue;
    expected.value[i] = kHidden;
    expected.bound[i] = 0;
  }
  return expected;
}

/// The mix of what is seen.
Expected weighted(const StageProblem& p, Values values, const Reading& reading, int64_t n_pos) {
  if (!reading.visible) return right_of(p, values);
  std::vector<float> seen(values[0].begin(), values[0].end());
  for (size_t i = 0; i < seen.size(); ++i) {
    const size_t row = i / static_cast<size_t>(n_pos * p.attention.n_head);
    if (!sees(reading, p.attention, p.positions[row], static_cast<int64_t>(i) % n_pos, n_pos)) seen[i] = 0;
  }
  values[0] = std::move(seen);
  return right_of(p, values);
}

/// With the roundings of the stage's own kernel.
Expected read(StageProblem p, Values values, const Reading& reading) {
  const int64_t n_pos = slots_of(p.attention, values[1]);
  p.attention.scale = reading.scale.value_or(p.attention.scale);
  if (reading.kv_head || reading.slot_shift != 0) {
    values[1] = as_read(values[1], p.attention, reading);
    p.attention.n_head_kv = p.attention.n_head;
  }
  return p.kind == StageKind::scores ? scores(std::move(p), values, reading, n_pos)
                                     : weighted(p, std::move(values), reading, n_pos);
}

Candidate reading(Reading how, Text title, int fitted = 0) {
  return computed_by(
      [how = std::move(how)](const StageProblem& p, const Values& values) { return read(p, values, how); },
      std::move(title), fitted);
}

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
  return of_keys_and_values(
      s, {reading(mod, {"head h reads KV head h mod n_kv, not h / group",
                        "la cabeza h lee la cabeza KV h mod n_kv, no h / grupo"}),
          reading(first, {"every head reads KV head 0", "cada cabeza lee la cabeza KV 0"}),
          reading(shifted, {"every head reads the next KV head", "cada cabeza lee la siguiente cabeza KV"})});
}

std::vector<Candidate> attention_slot(const Suspect& s) {
  std::vector<Candidate> candidates;
  for (const int shift : {1, -1}) {
    Reading off;
    off.slot_shift = shift;
    candidates.push_back(reading(off, {fmt::format("position p reads slot p {:+d}", shift),
                                       fmt::format("la posición p lee el lugar p {:+d}", shift)}));
  }
  return of_keys_and_values(s, std::move(candidates));
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

std::vector<Candidate> kv_length(const Suspect& s) {
  Reading shorter, page;
  shorter.visible = [](int64_t own, int64_t p, int64_t n_pos) { return p <= own && p < n_pos - 1; };
  page.visible = [](int64_t own, int64_t p, int64_t n_pos) { return p <= own && p < n_pos / 16 * 16; };
  return of_keys_and_values(s, {reading(shorter, {"the cache is read one position short",
                                                  "la caché se lee con una posición de menos"}),
                                reading(page, {"the last page of 16 positions is not read",
                                               "no se lee la última página de 16 posiciones"})});
}

/// The softmax of scores as another mask leaves them: what is recorded of them may be masked rightly.
Candidate of_masked_scores(const Reading& how, Text title) {
  const auto change = [how](const Observation& seen, StageProblem& weights) {
    std::string why;
    const At at{weights.at.layer, inputs_of(weights.at.stage).front()};
    const auto recorded = subject_of(*seen.phase, at, weights.positions, &why);
    if (!recorded) return false;
    auto masked = std::make_shared<StageProblem>(*recorded->problem);
    masked->how = [how](const StageProblem& p, const Values& values) { return read(p, values, how); };
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

std::vector<Candidate> window(const Suspect& s) {
  if (s.kind() != StageKind::scores) return {};
  const int64_t own = s.config().layer(s.at.layer).window;
  std::vector<Candidate> candidates;
  const auto add = [&](int64_t size, Text title, int fitted) {
    Reading other;
    other.window = size;
    candidates.push_back(reading(other, std::move(title), fitted));
  };
  if (own > 0) {
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

Candidate score_scale(double scale, double own, int fitted) {
  Reading other;
  other.scale = scale;
  return reading(other,
                 {fmt::format("scores are scaled by {:.6g}, not by {:.6g}", scale, own),
                  fmt::format("los scores se multiplican por {:.6g} en lugar de {:.6g}", scale, own)},
                 fitted);
}

Candidate tempered(double factor, Text title, int fitted) {
  return computed_by(
      [factor](const StageProblem& p, const Values& values) {
        std::vector<float> scaled(values[0].begin(), values[0].end());
        for (float& score : scaled) score = static_cast<float>(static_cast<double>(score) * factor);
        Values with_scaled = values;
        with_scaled[0] = scaled;
        Expected expected = right_of(p, with_scaled);
        for (size_t i = 0; i < expected.value.size(); ++i) {
          const double score = static_cast<double>(scaled[i]);
          if (std::isfinite(score))
            expected.bound[i] += 4 * bounds::kU * (1 + std::abs(score)) * expected.value[i];
        }
        return expected;
      },
      std::move(title), fitted);
}

/// Of softmax(c s): log of the ratio of two weights is c times the scores' difference.
std::optional<double> temperature_seen(const Evidence& evidence) {
  double both = 0, square = 0;
  for (const Observation& seen : evidence.observations) {
    const SharedRows& score = seen.problem->operands[0].values;
    if (score.size() != seen.observed.size()) return std::nullopt;
    const size_t n = static_cast<size_t>(seen.head_width());
    for (size_t begin = 0; begin < score.size(); begin += n) {
      const size_t top = static_cast<size_t>(
          std::max_element(score.begin() + begin, score.begin() + static_cast<std::ptrdiff_t>(begin + n)) -
          score.begin());
      for (size_t i = begin; i < begin + n; ++i) {
        const double difference = static_cast<double>(score[i]) - static_cast<double>(score[top]);
        const double ratio = static_cast<double>(seen.observed[i]) / static_cast<double>(seen.observed[top]);
        if (!std::isfinite(difference) || !(ratio > 1e-6)) continue;
        const double weight = ratio;  // small weights have few bits
        both += weight * difference * std::log(ratio);
        square += weight * difference * difference;
      }
    }
  }
  const double c = both / square;
  return std::isfinite(c) && c > 0 ? std::optional(c) : std::nullopt;
}

/// What is observed where scores are multiplied by `scale`, for the sums over all wrong heads.
Expected with_scale(const Suspect& s, const Observation& seen, double scale) {
  const StageProblem* scores = find_maker(*seen.problem, s.at.stage);
  return expected_of(*with_change(seen.problem, scores, [&](StageProblem& p) { p.attention.scale = scale; }));
}

/// The scale by which outputs of later stages come nearest to what was observed: Gauss and Newton's steps.
std::optional<double> scale_over_gap(const Suspect& s) {
  constexpr int kSteps = 8;
  constexpr double kStep = 1e-4;  // relative, of the difference quotient
  double scale = s.config().attention_scale;
  for (int step = 0; step < kSteps; ++step) {
    double both = 0, square = 0;
    for (const Observation& seen : s.evidence.observations) {
      const Expected here = with_scale(s, seen, scale), there = with_scale(s, seen, scale * (1 + kStep));
      for (size_t i = 0; i < seen.observed.size(); ++i) {
        const double off = static_cast<double>(seen.observed[i]) - here.value[i];
        const double slope = (there.value[i] - here.value[i]) / kStep;
        if (seen.affected[i / static_cast<size_t>(seen.head_width())] == 0 || !std::isfinite(off * slope))
          continue;
        both += off * slope;
        square += slope * slope;
      }
    }
    const double change = both / square;
    if (!std::isfinite(change) || change < -0.9 || change > 10) return std::nullopt;
    scale *= 1 + change;
    if (std::abs(change) < 1e-7) break;
  }
  return scale;
}

std::vector<Candidate> softmax_scale(const Suspect& s) {
  std::vector<Candidate> candidates;
  const double d = static_cast<double>(s.config().head_dim), own = s.config().attention_scale;
  if (s.kind() == StageKind::scores) {
    for (const double scale : {1.0, 1 / d, 1 / std::sqrt(d)}) {
      if (std::abs(scale - own) > 1e-6 * own) candidates.push_back(score_scale(scale, own, 0));
    }
    if (!s.direct) {
      if (const auto scale = scale_over_gap(s)) candidates.push_back(score_scale(*scale, own, 1));
      return candidates;
    }
    double both = 0, square = 0;
    for (const Observation& seen : s.evidence.observations) {
      for (size_t i = 0; i < seen.observed.size(); ++i) {
        if (!std::isfinite(seen.observed[i]) || !std::isfinite(seen.right.value[i])) continue;
        if (seen.affected[i / static_cast<size_t>(seen.head_width())] == 0) continue;
        both += static_cast<double>(seen.observed[i]) * seen.right.value[i];
        square += seen.right.value[i] * seen.right.value[i];
      }
    }
    if (std::isfinite(both / square)) candidates.push_back(score_scale(own * both / square, own, 1));
  } else if (s.kind() == StageKind::weights && s.direct) {
    if (const auto c = temperature_seen(s.evidence)) {
      candidates.push_back(
          tempered(*c,
                   {fmt::format("scores are multiplied by {:.6g} before the softmax", *c),
                    fmt::format("los scores se multiplican por {:.6g} antes del softmax", *c)},
                   1));
    }
  }
  return candidates;
}

std::vector<Candidate> softcap(const Suspect& s) {
  if (s.kind() != StageKind::scores) return {};
  std::vector<Candidate> candidates;
  const auto add = [&](double cap, int fitted) {
    Reading capped;
    capped.after = [cap](double score) { return cap * std::tanh(score / cap); };
    candidates.push_back(reading(capped,
                                 {fmt::format("scores are capped: {0:.4g} tanh(s / {0:.4g})", cap),
                                  fmt::format("los scores se limitan: {0:.4g} tanh(s / {0:.4g})", cap)},
                                 fitted));
  };
  for (const double cap : {1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0}) add(cap, 0);
  return candidates;
}

std::vector<Candidate> softmax_base2(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {
      tempered(std::log(2.0),
               {"the softmax takes powers of 2, not of e: log2(e) is missing",
                "el softmax usa potencias de 2, no de e: falta log2(e)"},
               0),
      tempered(1 / std::log(2.0),
               {"log2(e) is applied twice in the softmax", "log2(e) se aplica dos veces en el softmax"}, 0)};
}

/// exp(s - max) over a denominator that is wrong.
Candidate denominator(std::function<double(double sum, double max)> wrong, Text title) {
  return changed_afterwards(
      [wrong = std::move(wrong)](const StageProblem& p, const Values& values, Expected& expected) {
        const size_t n = values[0].size() / (p.positions.size() * static_cast<size_t>(p.attention.n_head));
        for (size_t begin = 0; begin < values[0].size(); begin += n) {
          const std::span<const float> row = std::span(values[0]).subspan(begin, n);
          const double max = static_cast<double>(*std::max_element(row.begin(), row.end()));
          double sum = 0;
          for (const float score : row) sum += std::exp(static_cast<double>(score) - max);
          const double factor = sum / wrong(sum, max);
          for (size_t i = begin; i < begin + n; ++i) {
            expected.value[i] *= factor;
            expected.bound[i] =
                (expected.bound[i] + 4 * bounds::kU * std::abs(expected.value[i])) * std::max(1.0, factor);
          }
        }
      },
      std::move(title));
}

std::vector<Candidate> softmax_sink(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {denominator([](double sum, double) { return sum + 1; },
                      {"1 is added to the softmax's denominator, after the maximum is taken off",
                       "se suma 1 al denominador del softmax, tras restar el máximo"}),
          denominator([](double sum, double max) { return sum + std::exp(-max); },
                      {"1 is added to the softmax's denominator (a sink)",
                       "se suma 1 al denominador del softmax (un sumidero)"})};
}

std::vector<Candidate> not_normalised(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {denominator([](double, double) { return 1.0; },
                      {"the softmax is not divided by its sum", "el softmax no se divide por su suma"})};
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
constexpr const char* kScale = "https://github.com/mlc-ai/mlc-llm/pull/3426";

const std::array<Hypothesis, 14> kAttention{{
    {"head_map",
     {"query heads read the wrong KV heads", "las cabezas leen cabezas KV equivocadas"},
     kHeads,
     head_map},
    {"attention_slot",
     {"positions read the neighbouring slot of the cache", "las posiciones leen el lugar vecino de la caché"},
     "https://github.com/gittensor-ai-lab/sparkinfer/issues/289",
     attention_slot},
    {"wrong_layer_cache",
     {"another layer's cache is read", "se lee la caché de otra capa"},
     "B3.25 of the founding engine (per-layer slices)",
     wrong_layer_cache},
    {"kv_length",
     {"the cache is read with a wrong length", "la caché se lee con otra longitud"},
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
      "otra ventana que la del modelo, o ninguna, o una de más; su tamaño se estima"},
     "https://github.com/vllm-project/vllm/issues/3385",
     window},
    {"softmax_scale",
     {"scores have another scale; it is estimated", "los scores tienen otra escala, que se estima"},
     kScale,
     softmax_scale},
    {"softcap",
     {"scores are capped by a tanh", "los scores se limitan con una tanh"},
     "https://github.com/vllm-project/vllm-metal/pull/666",
     softcap},
    {"softmax_base2",
     {"powers of 2 in the place of e, or log2(e) twice", "potencias de 2 en lugar de e, o log2(e) dos veces"},
     kScale,
     softmax_base2},
    {"softmax_sink", {"1 is added to the denominator", "se suma 1 al denominador"}, kScale, softmax_sink},
    {"softmax_not_normalised",
     {"the softmax is not divided by its sum", "el softmax no se divide por su suma"},
     kScale,
     not_normalised},
    {"head_order",
     {"heads and dims are exchanged in attention's output",
      "cabezas y dimensiones están intercambiadas en la salida de la atención"},
     kHeads,
     head_order},
}};

}  // namespace

std::span<const Hypothesis> attention_hypotheses() { return kAttention; }

}  // namespace greta
