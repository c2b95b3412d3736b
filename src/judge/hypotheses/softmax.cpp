// The softmax as people get it wrong: its scale, its base, its denominator.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "judge/hypotheses/attention_reading.h"

namespace greta {
namespace {

Candidate score_scale(double scale, double own, int fitted) {
  Reading other;
  other.scale = scale;
  return reading(other,
                 {fmt::format("scores are scaled by {:.6g}, not by {:.6g}", scale, own),
                  fmt::format("los scores se multiplican por {:.6g} en lugar de {:.6g}", scale, own)},
                 fitted);
}

/// What a row of scores adds up to, all relative to its maximum.
struct Denominator {
  double sum, max;  // of the positions alone; the largest score
  double sink;      // the head's: its score, -inf where there is none
  int64_t head;
  const std::vector<double>& sinks;

  double with(double sink_score) const { return sum + std::exp(sink_score - max); }
};

/// The weights, which are right but for what they are divided by.
void divide_by(const std::function<double(const Denominator& right)>& wrong, const StageProblem& p,
               const SharedRows& scores, Expected& expected) {
  const auto heads = static_cast<size_t>(p.attention.n_head);
  const size_t n = scores.size() / (p.positions.size() * heads);
  const std::vector<double> sinks = sinks_of(p);
  for (size_t begin = 0; begin < scores.size(); begin += n) {
    const std::span<const float> row = std::span(scores).subspan(begin, n);
    const size_t head = begin / n % heads;
    const double max = static_cast<double>(*std::max_element(row.begin(), row.end()));
    Denominator right{0, max, sinks.empty() ? -INFINITY : sinks[head], static_cast<int64_t>(head), sinks};
    for (const float score : row) right.sum += std::exp(static_cast<double>(score) - max);
    const double factor = right.with(right.sink) / wrong(right);
    for (size_t i = begin; i < begin + n; ++i) {
      expected.value[i] *= factor;
      expected.bound[i] =
          (expected.bound[i] + 4 * bounds::kU * std::abs(expected.value[i])) * std::max(1.0, factor);
    }
  }
}

/// The softmax of scores, and where `sinks_too` says so of sinks, times a factor.
Candidate tempered(double factor, Text title, int fitted, bool sinks_too = false) {
  return computed_by(
      [factor, sinks_too](const StageProblem& p, const Values& values) {
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
        if (!sinks_too || p.weight == nullptr) return expected;
        divide_by([factor](const Denominator& d) { return d.with(factor * d.sink); }, p, with_scaled[0],
                  expected);
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
      if (!seen.in_affected(begin)) continue;
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
        if (!seen.in_affected(i) || !std::isfinite(off * slope)) continue;
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
  const double d = static_cast<double>(s.config().query_dim()), own = s.config().attention_scale;
  if (s.kind() == StageKind::scores) {
    std::vector<double> scales{1.0, 1 / d, 1 / std::sqrt(d)};
    if (s.config().is_latent()) {  // by the width of a cached key, or without the part that turns
      for (const int64_t width : {s.config().head_dim, s.config().latent.nope})
        scales.push_back(own * std::sqrt(d / static_cast<double>(width)));
    }
    for (const double scale : scales) {
      if (std::abs(scale - own) > 1e-6 * own) candidates.push_back(score_scale(scale, own, 0));
    }
    if (!s.direct) {
      if (const auto scale = scale_over_gap(s)) candidates.push_back(score_scale(*scale, own, 1));
      return candidates;
    }
    double both = 0, square = 0;
    const double cap = s.config().score_cap;  // what is near it tells little of what it was
    const auto uncapped = [cap](double x) { return cap == 0 ? x : cap * std::atanh(x / cap); };
    for (const Observation& seen : s.evidence.observations) {
      for (size_t i = 0; i < seen.observed.size(); ++i) {
        if (!std::isfinite(seen.observed[i]) || !std::isfinite(seen.right.value[i])) continue;
        if (!seen.in_affected(i)) continue;
        if (cap != 0 && std::max(std::abs(static_cast<double>(seen.observed[i])),
                                 std::abs(seen.right.value[i])) > 0.9 * cap)
          continue;
        const double right = uncapped(seen.right.value[i]);
        both += uncapped(static_cast<double>(seen.observed[i])) * right;
        square += right * right;
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

/// c tanh(x / c) by another c than the model's, 0: not at all.
Candidate capped_by(const Suspect& s, double cap, int fitted) {
  const bool logits = s.at.stage == Stage::logits;
  const double own = cap_of(s.at.stage, s.config());
  const Text what = logits ? Text{"the logits", "los logits"} : Text{"scores", "los scores"};
  const Text title =
      cap == 0
          ? Text{fmt::format("{} are not capped: {:.4g} tanh(x / {:.4g}) is left out", what.en, own, own),
                 fmt::format("no se limitan {}: falta {:.4g} tanh(x / {:.4g})", what.es, own, own)}
      : own == 0 ? Text{fmt::format("{0} are capped: {1:.4g} tanh(s / {1:.4g})", what.en, cap),
                        fmt::format("{0} se limitan: {1:.4g} tanh(s / {1:.4g})", what.es, cap)}
                 : Text{fmt::format("{} are capped by {:.4g}, not by {:.4g}", what.en, cap, own),
                        fmt::format("{} se limitan con {:.4g} en lugar de {:.4g}", what.es, cap, own)};
  if (!logits) {
    Reading other;
    other.cap = cap;
    return reading(other, title, fitted);
  }
  return {[cap](const Observation&, StageProblem& problem) {
            problem.cap = cap;
            return true;
          },
          title, fitted};
}

/// The cap that was used, by what the outputs are and were before theirs; nullopt for none.
std::optional<double> cap_seen(const Suspect& s) {
  const double own = cap_of(s.at.stage, s.config());
  if (!s.direct || own == 0) return std::nullopt;
  std::vector<std::pair<double, double>> pairs;  // before the cap, observed
  for (const Observation& seen : s.evidence.observations) {
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      const double right = seen.right.value[i], observed = static_cast<double>(seen.observed[i]);
      if (seen.in_affected(i) && std::abs(right) < 0.99 * own && std::isfinite(observed))
        pairs.emplace_back(own * std::atanh(right / own), observed);
    }
  }
  const auto misfit = [&](double log_cap) {
    const double cap = std::exp(log_cap);
    double sum = 0;
    for (const auto& [x, observed] : pairs) sum += std::pow(cap * std::tanh(x / cap) - observed, 2);
    return sum;
  };
  double best = std::log(own);
  for (double step = 1; step > 1e-9; step /= 2) {  // towards less, by smaller and smaller steps
    for (const double to : {best - step, best + step}) {
      if (misfit(to) < misfit(best)) best = to;
    }
  }
  return pairs.empty() ? std::nullopt : std::optional(std::exp(best));
}

bool may_be_capped(const Suspect& s) {
  return s.kind() == StageKind::scores || (s.at.stage == Stage::logits && s.direct);
}

std::vector<Candidate> softcap(const Suspect& s) {
  if (!may_be_capped(s)) return {};
  std::vector<Candidate> candidates;
  const double own = cap_of(s.at.stage, s.config());
  if (own != 0) candidates.push_back(capped_by(s, 0, 0));
  for (const double cap : {1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0}) {
    if (cap != own) candidates.push_back(capped_by(s, cap, 0));
  }
  if (const auto cap = cap_seen(s)) candidates.push_back(capped_by(s, *cap, 1));
  for (const double cap : {1.0, 2.0, 5.0, 10.0, 20.0, 50.0}) {  // beside its own
    if (own == 0 || cap == own || s.at.stage == Stage::logits) continue;
    Reading more;
    more.after = [cap](double x) { return cap * std::tanh(x / cap); };
    candidates.push_back(reading(more, {fmt::format("scores are capped once more, by {:.4g}", cap),
                                        fmt::format("los scores se limitan otra vez, con {:.4g}", cap)}));
  }
  return candidates;
}

/// At another place than between the scale and the mask, or a second time.
std::vector<Candidate> softcap_order(const Suspect& s) {
  const double own = cap_of(s.at.stage, s.config());
  if (!may_be_capped(s) || own == 0) return {};
  const auto again = [own](double x) { return own * std::tanh(x / own); };
  const Text twice{"the soft cap is applied twice", "el límite suave se aplica dos veces"};
  if (s.at.stage == Stage::logits) {
    return {changed_afterwards(
        [again](const StageProblem&, const Values&, Expected& expected) {
          for (size_t i = 0; i < expected.value.size(); ++i) {
            expected.value[i] = again(expected.value[i]);
            expected.bound[i] += 8 * bounds::kU * std::abs(expected.value[i]);
          }
        },
        twice)};
  }
  Reading before, after, second;
  before.cap_before_scale = after.cap_after_mask = true;
  second.after = again;
  return {reading(before, {"the soft cap comes before the scale of the scores",
                           "el límite suave va antes de la escala de los scores"}),
          reading(after, {"the soft cap comes after the mask: hidden positions are seen",
                          "el límite suave va después de la máscara: se ven posiciones ocultas"}),
          reading(second, twice)};
}

std::vector<Candidate> softmax_base2(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {tempered(std::log(2.0),
                   {"the softmax takes powers of 2, not of e: log2(e) is missing",
                    "el softmax usa potencias de 2, no de e: falta log2(e)"},
                   0, true),
          tempered(1 / std::log(2.0),
                   {"log2(e) is applied twice in the softmax", "log2(e) se aplica dos veces en el softmax"},
                   0, true)};
}

/// exp(s - max) over a denominator that is wrong.
Candidate denominator(std::function<double(const Denominator& right)> wrong, Text title) {
  return changed_afterwards(
      [wrong = std::move(wrong)](const StageProblem& p, const Values& values, Expected& expected) {
        divide_by(wrong, p, values[0], expected);
      },
      std::move(title));
}

std::vector<Candidate> softmax_sink(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {denominator([](const Denominator& d) { return d.with(d.sink) + 1; },
                      {"1 is added to the softmax's denominator, after the maximum is taken off",
                       "se suma 1 al denominador del softmax, tras restar el máximo"}),
          denominator([](const Denominator& d) { return d.with(d.sink) + std::exp(-d.max); },
                      {"1 is added to the softmax's denominator: a sink, or a slot that is empty and seen",
                       "se suma 1 al denominador del softmax: un sumidero, o una ranura vacía que se ve"})};
}

/// Of a model whose heads have sinks.
std::vector<Candidate> attention_sink(const Suspect& s) {
  if (s.kind() != StageKind::weights || s.weight() == nullptr) return {};
  const auto of_head = [](int64_t by) {
    return [by](const Denominator& d) {
      const int64_t heads = std::ssize(d.sinks);
      return d.with(d.sinks[static_cast<size_t>((d.head + by + heads) % heads)]);
    };
  };
  const double scale = s.config().attention_scale;
  const int64_t group = s.config().n_head / s.config().n_head_kv;
  return {denominator([](const Denominator& d) { return d.sum; },
                      {"the heads' sinks are left out", "faltan los sumideros de las cabezas"}),
          denominator(of_head(1),
                      {"each head has the next one's sink", "cada cabeza tiene el sumidero de la siguiente"}),
          denominator(of_head(-1), {"each head has the sink of the one before",
                                    "cada cabeza tiene el sumidero de la anterior"}),
          denominator(
              [](const Denominator& d) { return d.with(d.sinks.front()); },
              {"all heads have the first one's sink", "todas las cabezas tienen el sumidero de la primera"}),
          denominator(
              [group](const Denominator& d) { return d.with(d.sinks[static_cast<size_t>(d.head / group)]); },
              {"sinks are taken by KV head, not by query head",
               "los sumideros se toman por cabeza KV, no por cabeza de consulta"}),
          denominator([scale](const Denominator& d) { return d.with(d.sink * scale); },
                      {"the sinks are scaled as the scores are", "los sumideros se escalan como los scores"}),
          denominator([](const Denominator& d) { return d.sum + std::exp(d.sink); },
                      {"the sinks are added without the maximum taken off",
                       "los sumideros se suman sin restar el máximo"}),
          denominator([](const Denominator& d) { return d.sum + 2 * std::exp(d.sink - d.max); },
                      {"the sinks are added twice", "los sumideros se suman dos veces"}),
          denominator(
              [](const Denominator& d) { return d.sum + 1; },
              {"each sink weighs as much as the largest score", "cada sumidero pesa como el score mayor"})};
}

std::vector<Candidate> not_normalised(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {denominator([](const Denominator&) { return 1.0; },
                      {"the softmax is not divided by its sum", "el softmax no se divide por su suma"})};
}

/// Every weight of a head by one factor: the sum that they are divided by is of other positions than theirs.
std::vector<Candidate> wrong_sum(const Suspect& s) {
  if (s.kind() != StageKind::weights || !s.direct) return {};
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (const Observation& seen : s.evidence.observations) {
    const size_t n = static_cast<size_t>(seen.head_width());
    for (size_t begin = 0; begin < seen.observed.size(); begin += n) {
      if (!seen.in_affected(begin)) continue;
      double sum = 0;
      for (size_t i = begin; i < begin + n; ++i) sum += static_cast<double>(seen.observed[i]);
      least = std::min(least, sum);
      most = std::max(most, sum);
    }
  }
  if (!std::isfinite(most) || least <= 0) return {};
  const auto change = [](const Observation& seen, StageProblem& problem) {
    problem.how = [&seen](const StageProblem& p, const Values& values) {
      Expected expected = right_of(p, values);
      const size_t n = static_cast<size_t>(seen.head_width());
      for (size_t begin = 0; begin < expected.value.size(); begin += n) {
        double sum = 0, right = 0;
        for (size_t i = begin; i < begin + n; ++i) {
          sum += static_cast<double>(seen.observed[i]);
          right += expected.value[i];
        }
        const double factor = sum / right;
        for (size_t i = begin; i < begin + n; ++i) {
          expected.value[i] *= factor;
          expected.bound[i] =
              expected.bound[i] * std::abs(factor) + 4 * bounds::kU * std::abs(expected.value[i]);
        }
      }
      return expected;
    };
    return true;
  };
  Candidate candidate{
      change,
      {fmt::format("the weights are divided by another sum than theirs: they add up to {:.4g} "
                   "to {:.4g}",
                   least, most),
       fmt::format("los pesos se dividen por una suma que no es la suya: suman de {:.4g} a {:.4g}", least,
                   most)},
      4};
  candidate.counted = true;  // one number a head, of many weights
  return {candidate};
}

/// A softmax that goes through the cache by tiles keeps a running maximum; what was summed before a new one
/// has to be scaled down by it.
enum class Unscaled { mix, sum, both };

/// Weights [heads of all rows][n] as a kernel has them that does not: relative to the maximum up to their own
/// tile.
std::vector<float> unscaled(std::span<const float> weights, size_t n, size_t tile, Unscaled what) {
  std::vector<float> made(weights.begin(), weights.end());
  std::vector<double> relative(n);  // to the maximum of its time
  for (size_t begin = 0; begin < weights.size(); begin += n) {
    double most = 0, sum = 0;
    for (size_t i = 0; i < n; ++i) {
      if (i % tile == 0) {
        const size_t end = std::min(n, i + tile);
        for (size_t j = i; j < end; ++j) most = std::max(most, static_cast<double>(weights[begin + j]));
      }
      relative[i] = most > 0 ? static_cast<double>(weights[begin + i]) / most : 0;
      sum += relative[i];
    }
    for (size_t i = 0; i < n; ++i) {
      const double right = static_cast<double>(weights[begin + i]);
      const double value = what == Unscaled::mix   ? relative[i] * most
                           : what == Unscaled::sum ? right / most / sum
                                                   : relative[i] / sum;
      made[begin + i] = static_cast<float>(value);
    }
  }
  return made;
}

std::vector<Candidate> softmax_rescale(const Suspect& s) {
  if (s.kind() != StageKind::mix || !s.direct) return {};
  if (s.evidence.observations.front().problem->operands.front().made_by == nullptr) return {};
  struct Part {
    Unscaled what;
    Text text;
  };
  static const std::array<Part, 3> kParts{{{Unscaled::mix, {"the mix", "la mezcla"}},
                                           {Unscaled::sum, {"the sum", "la suma"}},
                                           {Unscaled::both, {"mix and sum", "mezcla y suma"}}}};
  std::vector<Candidate> candidates;
  for (const size_t tile : {1u, 16u, 32u, 64u, 128u, 256u}) {
    for (const Part& part : kParts) {
      candidates.push_back(computed_by(
          [tile, what = part.what](const StageProblem& p, const Values& values) {
            Values others = values;
            const size_t heads = p.positions.size() * static_cast<size_t>(p.attention.n_head);
            others[0] = unscaled(values[0], values[0].size() / heads, tile, what);
            return right_of(p, others);
          },
          {fmt::format("{} of the softmax is not scaled down at a new maximum, by tiles of {}", part.text.en,
                       tile),
           fmt::format("{} del softmax no se reescala con un nuevo máximo, por bloques de {}", part.text.es,
                       tile)}));
    }
  }
  return candidates;
}

constexpr const char* kScale = "https://github.com/mlc-ai/mlc-llm/pull/3426";

const std::array<Hypothesis, 9> kSoftmax{{
    {"softmax_scale",
     {"scores have another scale; it is estimated", "los scores tienen otra escala, que se estima"},
     kScale,
     softmax_scale},
    {"softcap",
     {"scores or logits are capped by a tanh that the model does not have, or not by its own",
      "los scores o los logits se limitan con una tanh que no es la del modelo, o con ninguna"},
     "https://github.com/vllm-project/vllm-metal/pull/666",
     softcap},
    {"softcap_order",
     {"scores or logits are capped twice, or scores before their scale or after their mask",
      "los scores o los logits se limitan dos veces, o los scores antes de la escala o tras la máscara"},
     "https://github.com/vllm-project/vllm/pull/52173",
     softcap_order},
    {"softmax_base2",
     {"powers of 2 in the place of e, or log2(e) twice", "potencias de 2 en lugar de e, o log2(e) dos veces"},
     kScale,
     softmax_base2},
    {"attention_sink",
     {"the heads' sinks are left out, or are others'", "faltan los sumideros de las cabezas, o son de otras"},
     "https://github.com/vllm-project/vllm-metal/pull/550",
     attention_sink},
    {"softmax_sink", {"1 is added to the denominator", "se suma 1 al denominador"}, kScale, softmax_sink},
    {"softmax_not_normalised",
     {"the softmax is not divided by its sum", "el softmax no se divide por su suma"},
     kScale,
     not_normalised},
    {"softmax_rescale",
     {"a softmax by tiles is not scaled down at a new maximum",
      "un softmax por bloques no se reescala con un nuevo máximo"},
     kScale,
     softmax_rescale},
    {"softmax_sum",
     {"the weights of a head are divided by another sum than theirs",
      "los pesos de una cabeza se dividen por una suma que no es la suya"},
     kScale,
     wrong_sum},
}};

}  // namespace

std::span<const Hypothesis> softmax_hypotheses() { return kSoftmax; }

}  // namespace greta
