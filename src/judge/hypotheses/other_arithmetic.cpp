#include "judge/hypotheses/other_arithmetic.h"

#include <fmt/format.h>

#include <limits>

#include "judge/arithmetic_candidates.h"

namespace greta {
namespace {

constexpr double kNothing = std::numeric_limits<double>::infinity();  // is reproduced
constexpr double kMuch = 0.5;  // of the residual: less is not worth the search

bool is_known(const Observation& seen) {
  const At at = seen.problem->at;
  const InferredArithmetic* inferred = seen.phase->inferred;
  const KernelClass kernels = kernel_class(*seen.phase->model, seen.phase->view, at);
  return !is_open(*seen.phase, at) || (inferred != nullptr && inferred->of_class.contains(kernels));
}

Observation judged_by(const Declared& declared, const Observation& seen) {
  const bool fused = is_fused(seen.phase->view, seen.problem->at);
  auto problem = std::make_shared<const StageProblem>(by_arithmetic(*seen.problem, declared, fused));
  Expected right = expected_of(*problem);
  const At at = problem->at;
  return observe(*seen.phase, at, {{std::move(problem), seen.observed, seen.gap}, std::move(right)});
}

Evidence judged_by(const Declared& declared, Evidence evidence) {
  for (Observation& seen : evidence.observations) seen = judged_by(declared, seen);
  return evidence;
}

/// One phase's part: its kernels are not the other's.
Evidence of_phase(Phase phase, Evidence evidence) {
  std::erase_if(evidence.observations,
                [&](const Observation& seen) { return seen.phase->view.kind() != phase; });
  return evidence;
}

/// One phase's evidence by the arithmetic that leaves least of those with which the hypothesis reproduces it.
struct Adapted {
  Evidence evidence;
  std::string arithmetic = {};  // another than it is judged by
};

/// The search is for one candidate, the best so far: which layer's weight it was does not hang on rounding.
/// (The numbers in the title of one that was fitted do: of such a hypothesis all are tried.)
class Adapter {
 public:
  explicit Adapter(const Explanation& explanation)
      : hypothesis_(*explanation.hypothesis),
        title_(explanation.fitted == 0 ? std::string_view(explanation.title.en) : std::string_view()) {}

  std::optional<Adapted> adapted(Evidence evidence) const {
    if (evidence.observations.empty() || left_by(evidence) < kNothing) return Adapted{std::move(evidence)};
    const Observation& seen = evidence.observations.front();
    if (is_known(seen)) return std::nullopt;
    const At at = seen.problem->at;
    const KernelClass kernels = kernel_class(*seen.phase->model, seen.phase->view, at);
    Evidence one = evidence;  // is soon computed anew, and most arithmetics fail there
    one.observations.resize(1);
    std::optional<Adapted> best;
    double least = kNothing;
    for (const Declared& declared : arithmetic_candidates(kernels, declared_arithmetic(*seen.phase, at))) {
      if (!rotation_fits(declared, seen.phase->model->config)) continue;
      if (!is_held_in(declared.roundings.output, seen.observed)) continue;
      if (left_by(judged_by(declared, one)) == kNothing) continue;
      Evidence other = judged_by(declared, evidence);
      const double left = left_by(other);
      if (left >= least) continue;
      least = left;
      best = Adapted{std::move(other), fmt::format("{} in {}", describe(declared), name(kernels.phase))};
    }
    return best;
  }

 private:
  double left_by(const Evidence& seen) const {
    const auto best = best_of(hypothesis_, seen, {}, title_);
    return best && covers(*best) ? 1 - best->explained_residual : kNothing;
  }

  const Hypothesis& hypothesis_;
  std::string_view title_;
};

}  // namespace

std::optional<Explanation> with_other_arithmetic(const Explanation& explanation, const Evidence& evidence) {
  if (reproduces(explanation) || explanation.explained_residual < kMuch ||
      explanation.hypothesis->of_arithmetic)
    return std::nullopt;
  const Adapter adapter(explanation);
  auto prefill = adapter.adapted(of_phase(Phase::prefill, evidence));
  if (!prefill) return std::nullopt;
  auto decode = adapter.adapted(of_phase(Phase::decode, evidence));
  if (!decode || (prefill->arithmetic.empty() && decode->arithmetic.empty())) return std::nullopt;
  Evidence both = std::move(prefill->evidence);
  for (Observation& seen : decode->evidence.observations) both.observations.push_back(std::move(seen));
  std::optional<Explanation> best = best_of(*explanation.hypothesis, both);
  if (!best || !reproduces(*best)) return std::nullopt;
  const bool two = !prefill->arithmetic.empty() && !decode->arithmetic.empty();
  best->by_arithmetic = prefill->arithmetic + (two ? "; " : "") + decode->arithmetic;
  return best;
}

}  // namespace greta
