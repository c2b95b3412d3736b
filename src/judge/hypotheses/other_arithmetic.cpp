#include "judge/hypotheses/other_arithmetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "judge/arithmetic_candidates.h"

namespace greta {
namespace {

constexpr double kNothing = std::numeric_limits<double>::infinity();  // is reproduced
constexpr double kMuch = 0.5;      // of the residual: less is not worth the search
constexpr double kExactly = 1e-5;  // left of it: no other arithmetic is nearer

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
  Adapter(const Explanation& explanation, const Search& search)
      : search_(search),
        hypothesis_(*explanation.hypothesis),
        title_(explanation.fitted == 0 ? std::string_view(explanation.title.en) : std::string_view()) {}

  std::string_view title() const { return title_; }

  std::optional<Adapted> adapted(Evidence evidence) const {
    if (evidence.observations.empty() || left_by(evidence) < kNothing) return Adapted{std::move(evidence)};
    const Observation& seen = evidence.observations.front();
    if (is_known(seen)) return std::nullopt;
    const At at = seen.problem->at;
    const KernelClass kernels = kernel_class(*seen.phase->model, seen.phase->view, at);
    Evidence one = evidence;  // is soon computed anew, and most arithmetics fail there
    one.observations.resize(1);
    const auto all = arithmetic_candidates(kernels, declared_arithmetic(*seen.phase, at));
    const std::vector<Candidate> candidates = known_candidates(one);
    // What explained others; in full the rest, of which a matrix unit's rule is slow to try.
    for (const Turn turn : {Turn::known, Turn::formats, Turn::units}) {
      std::optional<Adapted> best;
      double least = kNothing;
      for (const Declared& declared : all) {
        const std::string text = fmt::format("{} in {}", describe(declared), name(kernels.phase));
        if (turn_of(declared, text) != turn || (turn != Turn::known && !search_.in_full)) continue;
        if (!fits_model(declared, *seen.phase->model)) continue;
        if (!is_held_in(declared.roundings.output, seen.observed)) continue;
        if (!may_reproduce(candidates, one, declared)) continue;
        if (turn != Turn::known && left_by(judged_by(declared, one)) == kNothing) continue;
        Evidence other = judged_by(declared, evidence);
        const double left = left_by(other);
        if (left >= least) continue;
        least = left;
        best = Adapted{std::move(other), text};
        if (left < kExactly) break;
      }
      if (best) return best;
    }
    return std::nullopt;
  }

 private:
  /// Those whose numbers do not hang on the arithmetic: none where any do.
  std::vector<Candidate> known_candidates(const Evidence& evidence) const {
    std::vector<Candidate> some;
    if (title_.empty()) return some;
    for (Candidate& candidate : hypothesis_.candidates({evidence, evidence.at, true})) {
      if (candidate.title.en == title_) some.push_back(std::move(candidate));
    }
    return some;
  }

  /// False where a few outputs show that none does: of a large weight all of them take long.
  static bool may_reproduce(const std::vector<Candidate>& candidates, const Evidence& evidence,
                            const Declared& declared) {
    return candidates.empty() || std::ranges::any_of(candidates, [&](const Candidate& candidate) {
             const auto some = on_some_outputs(candidate, {evidence, evidence.at, true}, &declared);
             return !some || some->noise_ratio <= 1;
           });
  }

  double left_by(const Evidence& seen) const {
    const auto best = best_of(hypothesis_, seen, {}, title_);
    return best && covers(*best) ? 1 - best->explained_residual : kNothing;
  }

  enum class Turn { known, formats, units };

  Turn turn_of(const Declared& declared, const std::string& text) const {
    const bool known = std::ranges::any_of(search_.arithmetic, [&](const std::string& by) {
      return ("; " + by + "; ").find("; " + text + "; ") != std::string::npos;
    });
    if (known) return Turn::known;
    return declared.roundings.unit == nullptr ? Turn::formats : Turn::units;
  }

  const Search& search_;
  const Hypothesis& hypothesis_;
  std::string_view title_;
};

}  // namespace

std::optional<Explanation> with_other_arithmetic(const Explanation& explanation, const Evidence& evidence,
                                                 const Search& search) {
  if (reproduces(explanation) || explanation.explained_residual < kMuch ||
      explanation.hypothesis->of_arithmetic)
    return std::nullopt;
  const Adapter adapter(explanation, search);
  auto prefill = adapter.adapted(of_phase(Phase::prefill, evidence));
  if (!prefill) return std::nullopt;
  auto decode = adapter.adapted(of_phase(Phase::decode, evidence));
  if (!decode || (prefill->arithmetic.empty() && decode->arithmetic.empty())) return std::nullopt;
  Evidence both = std::move(prefill->evidence);
  for (Observation& seen : decode->evidence.observations) both.observations.push_back(std::move(seen));
  std::optional<Explanation> best = best_of(*explanation.hypothesis, both, {}, adapter.title());
  if (!best || !reproduces(*best)) return std::nullopt;
  const bool two = !prefill->arithmetic.empty() && !decode->arithmetic.empty();
  best->by_arithmetic = prefill->arithmetic + (two ? "; " : "") + decode->arithmetic;
  return best;
}

}  // namespace greta
