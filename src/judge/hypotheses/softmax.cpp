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
        if (!seen.in_affected(i)) continue;
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
                      {"1 is added to the softmax's denominator: a sink, or a slot that is empty and seen",
                       "se suma 1 al denominador del softmax: un sumidero, o una ranura vacía que se ve"})};
}

std::vector<Candidate> not_normalised(const Suspect& s) {
  if (s.kind() != StageKind::weights) return {};
  return {denominator([](double, double) { return 1.0; },
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

const std::array<Hypothesis, 7> kSoftmax{{
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
