// What goes wrong with an output after it was computed right: scaled, clipped, not written, damaged.

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <set>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/moved.h"
#include "judge/residual_pattern.h"

namespace greta {
namespace {

using Change = std::function<void(const Observation& seen, Expected& expected)>;

/// The stage as it ought to be, then `change`, which looks at what was observed.
Candidate afterwards(Change change, Text title, int fitted = 0) {
  return {.change =
              [change = std::move(change)](const Observation& seen, StageProblem& problem) {
                problem.how = [change, &seen](const StageProblem& p, const Values& values) {
                  Expected expected = right_of(p, values);
                  change(seen, expected);
                  return expected;
                };
                return true;
              },
          .title = std::move(title),
          .fitted = fitted};
}

/// The values are `rows`, whatever the stage's inputs are.
Candidate instead(std::function<std::optional<SharedRows>(const Observation& seen)> rows, Text title) {
  return {.change =
              [rows = std::move(rows)](const Observation& seen, StageProblem& problem) {
                auto values = rows(seen);
                if (!values || values->size() != seen.observed.size() || !all_finite(*values)) return false;
                problem.how = [kept = std::move(*values)](const StageProblem&, const Values&) {
                  return Expected{{kept.begin(), kept.end()}, std::vector<double>(kept.size(), 0.0)};
                };
                return true;
              },
          .title = std::move(title)};
}

/// Visits the finite elements of affected rows and heads.
template <class Visit>
void each_affected(const Evidence& evidence, const Visit& visit) {
  for (const Observation& seen : evidence.observations) {
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      const double observed = static_cast<double>(seen.observed[i]), right = seen.right.value[i];
      if (seen.in_affected(i) && std::isfinite(observed) && std::isfinite(right))
        visit(observed, right, seen.right.bound[i]);
    }
  }
}

std::vector<Candidate> scaled(const Suspect& s) {
  // A wrong scale of the scores is softmax_scale's.
  if (!s.direct || s.kind() == StageKind::scores || s.kind() == StageKind::weights) return {};
  double both = 0, square = 0;
  each_affected(s.evidence, [&](double observed, double right, double) {
    both += observed * right;
    square += right * right;
  });
  const double c = both / square;
  if (!std::isfinite(c) || c == 0) return {};
  return {by_outputs(afterwards(
      [c](const Observation&, Expected& expected) {
        for (double& value : expected.value) value *= c;
        for (double& bound : expected.bound) bound = bound * std::abs(c);
        // One more rounding, and determined stages have it too.
        for (size_t i = 0; i < expected.value.size(); ++i)
          expected.bound[i] += 4 * bounds::kU * std::abs(expected.value[i]);
      },
      {fmt::format("{} is multiplied by {:.6g}", s.name(), c),
       fmt::format("{} se multiplica por {:.6g}", s.name(), c)},
      1))};
}

std::vector<Candidate> saturated(const Suspect& s) {
  if (!s.direct) return {};
  double limit = 0, right_max = 0;
  int64_t at_limit = 0;
  each_affected(s.evidence, [&](double observed, double right, double) {
    limit = std::max(limit, std::abs(observed));
    right_max = std::max(right_max, std::abs(right));
  });
  each_affected(s.evidence,
                [&](double observed, double, double) { at_limit += std::abs(observed) == limit; });
  if (at_limit < 2 || right_max <= limit || limit == 0) return {};
  return {by_outputs(afterwards(
      [limit](const Observation&, Expected& expected) {
        for (double& value : expected.value) value = std::clamp(value, -limit, limit);
      },
      {fmt::format("{} is clipped at +-{:.6g}", s.name(), limit),
       fmt::format("{} se recorta en +-{:.6g}", s.name(), limit)},
      1))};
}

/// The same vector is added to every row: a bias that does not belong there, or one that is missing.
std::vector<Candidate> constant_offset(const Suspect& s) {
  const auto& all = s.evidence.observations;
  if (!s.direct || info(s.at.stage).row_per != RowPer::token) return {};
  const size_t width = static_cast<size_t>(all.front().width);
  std::vector<double> sum(width), rows(width);
  std::set<std::pair<std::string, int64_t>> distinct;  // one row's own error is a vector, too
  for (const Observation& seen : all) {
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      if (!seen.in_affected(i)) continue;
      distinct.insert({seen.phase->view.cell().prompt, seen.problem->positions[i / width]});
      ++rows[i % width];
      sum[i % width] += static_cast<double>(seen.observed[i]) - seen.right.value[i];
    }
  }
  if (distinct.size() < 2) return {};
  for (size_t j = 0; j < width; ++j) sum[j] /= std::max(rows[j], 1.0);
  return {afterwards(
      [sum](const Observation&, Expected& expected) {
        for (size_t i = 0; i < expected.value.size(); ++i) {
          expected.value[i] += sum[i % sum.size()];
          expected.bound[i] = 2 * expected.bound[i] + 2 * bounds::kU * std::abs(expected.value[i]);
        }
      },
      {fmt::format("the same vector is added to every row of {}: a bias that is not in the file, or not used",
                   s.name()),
       fmt::format(
           "a cada fila de {} se le suma el mismo vector: un sesgo que no está en el archivo, o sin usar",
           s.name())},
      2)};
}

/// A mistake that both runs make at the same place leaves equal values too.
bool was_right(const PhaseRecord& phase, At at) {
  std::string why;
  const std::optional<Judgement> judgement = judge_stage(phase, at, &why);
  return judgement && judgement->noise_ratio <= 1;
}

std::vector<Candidate> stale(const Suspect& s) {
  if (!s.direct || s.kind() == StageKind::cache) return {};
  std::vector<Candidate> candidates;
  const Stage stage = s.at.stage;
  if (s.at.layer > 0 && s.kind() != StageKind::embedding) {  // what it begins with a layer does not write
    const At before{s.at.layer - 1, stage};
    candidates.push_back(instead(
        [=](const Observation& seen) { return recorded_rows(*seen.phase, before, seen.problem->positions); },
        {fmt::format("{} is not written: it holds what layer {} left", name(stage), before.layer),
         fmt::format("{} no se escribe: contiene lo que dejó la capa {}", name(stage), before.layer)}));
  }
  const At last{is_outside_layers(stage) ? kNoLayer : static_cast<int>(s.config().n_layer) - 1, stage};
  candidates.push_back(instead(
      [=, own = s.at](const Observation& seen) -> std::optional<SharedRows> {
        const PhaseRecord* before = seen.phase->before;
        if (before == nullptr || (own == last && !was_right(*before, last))) return std::nullopt;
        return recorded_rows(*before, last, seen.problem->positions);
      },
      {fmt::format("{} is not written: it holds what the run before left", name(stage)),
       fmt::format("{} no se escribe: contiene lo que dejó la ejecución anterior", name(stage))}));
  return candidates;
}

std::vector<Candidate> zero(const Suspect& s) {
  if (!s.direct || s.kind() == StageKind::cache) return {};  // kv_not_written's
  Candidate candidate = instead(
      [](const Observation& seen) { return SharedRows(std::vector<float>(seen.observed.size(), 0.0f)); },
      {fmt::format("{} is zero: never written, or made of what was not", s.name()),
       fmt::format("{} es cero: no se escribe nunca, o se calcula de lo que no se escribió", s.name())});
  candidate.may_be_empty = true;
  return {candidate};
}

/// Puts the observed value where `wrong` says so; the rest must be right.
Candidate damaged(std::function<bool(const Observation&, size_t)> wrong, Text title, int fitted) {
  Candidate candidate = afterwards(
      [wrong = std::move(wrong)](const Observation& seen, Expected& expected) {
        for (size_t i = 0; i < expected.value.size() && i < seen.observed.size(); ++i) {
          if (wrong(seen, i)) expected.value[i] = static_cast<double>(seen.observed[i]);
        }
      },
      std::move(title), fitted);
  candidate.counted = candidate.may_be_empty = true;
  return candidate;
}

std::vector<Candidate> not_finite(const Suspect& s) {
  if (!s.direct || s.kind() == StageKind::scores || s.kind() == StageKind::cache)
    return {};  // masks, unwritten slots
  const auto bad = [](const Observation& seen, size_t i) {
    return !std::isfinite(seen.observed[i]) && std::isfinite(seen.right.value[i]);
  };
  int64_t count = 0, position = -1, element = -1;
  for (const Observation& seen : s.evidence.observations) {
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      if (!bad(seen, i) || count++ > 0) continue;
      position = seen.problem->positions[i / static_cast<size_t>(seen.width)];
      element = static_cast<int64_t>(i) % seen.width;
    }
  }
  if (count == 0) return {};
  return {damaged(
      bad,
      {fmt::format("{} has NaN or infinity from finite inputs, first at position {}, element {}", s.name(),
                   position, element),
       fmt::format("{} tiene NaN o infinito con entradas finitas, primero en la posición {}, elemento {}",
                   s.name(), position, element)},
      1)};
}

/// A few places of a row are wrong and all others right. This describes, it does not explain: it yields to
/// whatever reproduces the values.
std::vector<Candidate> corrupted(const Suspect& s) {
  if (!s.direct) return {};
  std::set<int64_t> elements;
  const int64_t width = s.evidence.observations.front().width;
  for (const Observation& seen : s.evidence.observations) {
    if (seen.width != width) return {};
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      if (seen.is_wrong(i)) elements.insert(static_cast<int64_t>(i) % width);
    }
  }
  if (elements.empty() || std::ssize(elements) * 8 > width) return {};
  const auto text = [&](const char* form, Language language) {
    return fmt::format(fmt::runtime(form), elements.size(), width, s.name(),
                       index_pattern(elements, language));
  };
  return {
      damaged([](const Observation& seen, size_t i) { return seen.is_wrong(i); },
              {text("{} of {} elements of {} are wrong and the rest right: {}", Language::english),
               text("{} de {} elementos de {} son incorrectos y los demás correctos: {}", Language::spanish)},
              9)};
}

const std::array<Hypothesis, 8> kOutput{{
    {"output_scaled",
     {"the output is multiplied by a constant, which is estimated",
      "la salida se multiplica por una constante, que se estima"},
     "https://github.com/sawfwair/mere-run/pull/136",
     scaled},
    {"saturation",
     {"the output is clipped; the limit is estimated", "la salida se recorta; el límite se estima"},
     "https://github.com/ROCm/hip-ep/pull/134",
     saturated},
    {"constant_offset",
     {"one vector is added to every row (a bias lost or used twice)",
      "a cada fila se le suma un mismo vector (un sesgo perdido o usado dos veces)"},
     "https://github.com/paiml/aprender/issues/2769",
     constant_offset},
    {"stale_output",
     {"the output is not written: an older one is left in its buffer",
      "la salida no se escribe: en su búfer queda la anterior"},
     "https://github.com/vllm-project/vllm-ascend/pull/6558",
     stale},
    {"output_zero",
     {"the output is never written and zero", "la salida no se escribe y es cero"},
     "https://github.com/kekzl/imp/issues/1674",
     zero},
    {"output_moved",
     {"right values in wrong places: elements exchanged in pairs, shifted, or heads in each other's place",
      "valores correctos en lugares equivocados: elementos intercambiados, desplazados o cabezas cambiadas"},
     "https://github.com/ml-explore/mlx/issues/3494",
     moved_outputs},
    {"non_finite",
     {"NaN or infinity from finite inputs; the first place is reported",
      "NaN o infinito con entradas finitas; se indica el primer lugar"},
     "https://github.com/deepbeepmeep/Wan2GP/pull/1628",
     not_finite},
    {"corrupted_elements",
     {"a few elements are wrong, the rest right; their pattern is reported",
      "unos pocos elementos son incorrectos; se indica su patrón"},
     "https://github.com/ml-explore/mlx/issues/3494",
     corrupted},
}};

}  // namespace

std::span<const Hypothesis> output_hypotheses() { return kOutput; }

}  // namespace greta
