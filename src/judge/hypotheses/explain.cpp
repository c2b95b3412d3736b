#include "judge/hypotheses/explain.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "base/parallel.h"
#include "judge/hypotheses/condition.h"
#include "judge/hypotheses/other_arithmetic.h"
#include "numerics/unit_bias.h"

namespace greta {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Score {
  double wrong = 0, left = 0;  // sums of squares: of |observed - oracle|, of |observed - hypothesis|
  double noise_ratio = 0;
  int64_t wrong_elements = 0;
  double worst = 0;                            // |observed - oracle| / bound
  bool overreaches = false;                    // it would have changed rows or heads that are right
  bool any_number = false;                     // or infinity, of what is wrong; and none is zero by itself
  bool in_prefill = false, in_decode = false;  // where it could be tried
  double explained() const { return wrong > 0 ? 1 - std::sqrt(left / wrong) : 0; }
};

bool is_prefill(const Observation& seen) { return seen.phase->view.kind() == Phase::prefill; }

/// How far the errors about `value`, in their expected size,
/// are from what chance makes of them: their mean square is 1.
double excess(const Observation& seen, const Expected& value, int64_t begin) {
  const Expected& rule = value.spread.empty() ? seen.right : value;
  double sum = 0;
  for (int64_t at = begin; at < begin + seen.head_width(); ++at) {
    const size_t i = static_cast<size_t>(at);
    const double error = static_cast<double>(seen.observed[i]) - value.value[i];
    sum += error * error / likely_square(rule, i);
  }
  return sum - static_cast<double>(seen.head_width());
}

/// Rows and heads that are right stay out of the sums: a fault may have a condition.
void add_slice(const Observation& seen, const Expected& value, int64_t begin, double gross, Score& score) {
  for (int64_t at = begin; at < begin + seen.head_width(); ++at) {
    const size_t i = static_cast<size_t>(at);
    if (!seen.right.tells(i) || !seen.is_inside(at % seen.width)) continue;
    const bool empty = std::isnan(seen.observed[i]) || value.value[i] == 0;
    score.wrong_elements += seen.of_unit_size || seen.is_wrong(i);
    score.any_number = score.any_number || (!empty && (seen.is_wrong(i) || seen.of_unit_size));
    const double before = element_error(seen.observed[i], seen.right.value[i], gross);
    const double after = element_error(seen.observed[i], value.value[i], gross);
    if (!seen.of_unit_size) {
      score.wrong += before * before;
      score.left += after * after;
    }
    const double allowed = seen.right.bound[i];
    score.worst = std::max(score.worst, allowed > 0 && !seen.of_unit_size ? before / allowed : kInfinity);
    if (after > 0)
      score.noise_ratio =
          std::max(score.noise_ratio, value.bound[i] > 0 ? after / value.bound[i] : kInfinity);
  }
  if (!seen.of_unit_size) return;
  score.wrong += std::max(0.0, excess(seen, seen.right, begin));
  score.left += std::abs(excess(seen, value, begin));
}

bool would_change(const Observation& seen, const Expected& value, int64_t begin, double gross) {
  for (int64_t at = begin; at < begin + seen.head_width(); ++at) {
    const size_t i = static_cast<size_t>(at);
    if (seen.right.tells(i) && seen.is_inside(at % seen.width) &&
        element_error(seen.observed[i], value.value[i], gross) > value.bound[i] + seen.right.bound[i])
      return true;
  }
  return false;
}

/// Adds what the changed problem makes of one observation, unless that lacks what the candidate takes.
void add_score(const Candidate& candidate, const Suspect& suspect, const Observation& seen, Score& score) {
  const StageProblem* target =
      suspect.direct ? seen.problem.get() : find_maker(*seen.problem, suspect.at.stage);
  if (target == nullptr) return;
  bool applies = true;
  const auto wrong =
      with_change(seen.problem, target, [&](StageProblem& p) { applies = candidate.change(seen, p); });
  if (!applies) return;
  const Expected value = expected_of(*wrong);
  if (value.value.size() != seen.observed.size()) return;
  (is_prefill(seen) ? score.in_prefill : score.in_decode) = true;
  const double gross = gross_error(seen);
  for (int64_t row = 0; row < seen.rows; ++row) {
    for (int64_t head = 0; head < seen.heads; ++head) {
      const int64_t begin = row * seen.width + head * seen.head_width();
      if (seen.is_affected(row, head)) {
        add_slice(seen, value, begin, gross, score);
      } else {
        score.overreaches = score.overreaches || would_change(seen, value, begin, gross);
      }
    }
  }
}

/// Numbers that are fitted take what few elements are wrong for granted, and what rounding may leave with it.
HeldUp to_hold_up(const Candidate& candidate, const Score& score) {
  constexpr double kBeyondRounding = 2;
  if (!candidate.is_estimated()) return HeldUp::nothing_estimated;
  const bool little = score.wrong_elements <= candidate.fitted || score.worst < kBeyondRounding;
  return little ? HeldUp::no_other_row : HeldUp::yes;
}

/// A candidate that leaves most of the first observation unexplained is not worth the others.
bool hopeless(const Score& score) { return score.explained() < 0.2; }

/// Some rows of a weight, or of a bias, as they are in the file.
Tensor picked_rows(const Tensor& all, std::span<const int64_t> rows, int64_t count,
                   std::vector<std::byte>& storage) {
  for (const int64_t row : rows) {
    const auto from = row_bytes(all, static_cast<uint64_t>(row), static_cast<uint64_t>(count));
    storage.insert(storage.end(), from.begin(), from.end());
  }
  Tensor some = all;
  (all.dims[1] == 1 ? some.dims[0] : some.dims[1]) = rows.size();
  some.data = storage;
  some.order = {};
  return some;
}

}  // namespace

std::optional<OfSome> on_some_outputs(const Candidate& candidate, const Suspect& suspect,
                                      const Declared* by) {
  constexpr int64_t kSome = 64, kLarge = 512;
  const Observation& seen = suspect.evidence.observations.front();
  if (!suspect.direct || !is_plain_projection(*seen.problem) || seen.width < kLarge || seen.of_unit_size)
    return std::nullopt;
  StageProblem problem = by == nullptr ? *seen.problem : by_arithmetic(*seen.problem, *by, false);
  const bool alone =
      candidate.change(seen, problem) && (is_plain_projection(problem) || candidate.by_outputs);
  if (!alone) return std::nullopt;
  if (problem.weight->dims[1] != static_cast<uint64_t>(seen.width) || problem.weight->dims[2] != 1)
    return std::nullopt;
  std::vector<int64_t> outputs;
  int64_t inside = 0;
  for (int64_t i = 0; i < seen.width; ++i) inside += seen.is_inside(i);
  int64_t at = 0;
  for (int64_t i = 0; i < seen.width; ++i) {
    if (seen.is_inside(i) && at++ % std::max<int64_t>(1, inside / kSome) == 0) outputs.push_back(i);
  }
  std::vector<std::byte> weight_bytes, bias_bytes;
  const Tensor weight = picked_rows(*problem.weight, outputs, seen.width, weight_bytes);
  Tensor bias;
  if (problem.bias != nullptr) bias = picked_rows(*problem.bias, outputs, seen.width, bias_bytes);
  problem.weight = &weight;
  problem.bias = problem.bias == nullptr ? nullptr : &bias;
  const Expected value = expected_of(problem);
  double left = 0, wrong = 0, noise = 0;
  const double gross = gross_error(seen);
  for (int64_t row = 0; row < seen.rows; ++row) {
    for (size_t j = 0; j < outputs.size(); ++j) {
      const size_t i = static_cast<size_t>(row * seen.width + outputs[j]);
      if (!seen.in_affected(i) || !seen.right.tells(i)) continue;
      const double made = value.value[static_cast<size_t>(row) * outputs.size() + j];
      const double after = element_error(seen.observed[i], made, gross);
      const double allowed = value.bound[static_cast<size_t>(row) * outputs.size() + j];
      wrong += std::pow(element_error(seen.observed[i], seen.right.value[i], gross), 2);
      left += after * after;
      if (after > 0) noise = std::max(noise, allowed > 0 ? after / allowed : kInfinity);
    }
  }
  return wrong > 0 ? std::optional(OfSome{1 - std::sqrt(left / wrong), noise}) : std::nullopt;
}

namespace {

std::optional<Explanation> score(const Hypothesis& hypothesis, const Candidate& candidate,
                                 const Suspect& suspect) {
  constexpr double kHopeless = 0.1;
  Score sum;
  bool prefill = false, decode = false;
  // Most candidates leave most of a large observation, and all of it costs a pass over the weight.
  if (const auto some = on_some_outputs(candidate, suspect); some && some->explained < kHopeless)
    return Explanation{.hypothesis = &hypothesis,
                       .title = candidate.title,
                       .explained_residual = some->explained,
                       .noise_ratio = kInfinity,
                       .fitted = candidate.fitted};
  for (const Observation& seen : suspect.evidence.observations) {
    (is_prefill(seen) ? prefill : decode) = true;
    add_score(candidate, suspect, seen, sum);
    if (sum.wrong > 0 && hopeless(sum)) break;
  }
  const bool empty = !sum.any_number && !candidate.may_be_empty;
  if (empty) sum.noise_ratio = kInfinity;
  // What could be tried in one of two wrong phases only explains neither.
  if (sum.wrong == 0 || (prefill && !sum.in_prefill) || (decode && !sum.in_decode && !hopeless(sum)))
    return std::nullopt;
  return Explanation{.hypothesis = &hypothesis,
                     .title = candidate.title,
                     .explained_residual = sum.explained(),
                     .noise_ratio = sum.noise_ratio,
                     .fitted = candidate.fitted,
                     .held_up = to_hold_up(candidate, sum),
                     .seen = candidate.seen,
                     .overreaches = sum.overreaches};
}

/// Numbers fitted to the output explain it for free: each costs a little.
/// So does a change where nothing is wrong: the fault then needs a condition besides.
double merit(const Explanation& e) {
  return e.explained_residual - 0.4 * kMargin * (e.fitted + (e.overreaches ? 1 : 0));
}

/// Better: reproduces within rounding, then what was seen to be so, then what leaves less unexplained.
bool better(const Explanation& a, const Explanation& b) {
  if (reproduces(a) != reproduces(b)) return reproduces(a);
  if (reproduces(a) && a.seen != b.seen) return a.seen;
  return merit(a) > merit(b);
}

std::vector<Suspect> suspects_of(const Evidence& evidence) {
  std::vector<Suspect> suspects{{evidence, evidence.at, true}};
  for (const Stage stage : evidence.observations.front().gap)
    suspects.push_back({evidence, {evidence.at.layer, stage}, false});
  return suspects;
}

/// Whether what the hypothesis estimates there reproduces what is wrong here.
bool agrees_with(const Hypothesis& hypothesis, const Suspect& there, const Suspect& here) {
  const std::vector<Candidate> candidates = hypothesis.candidates(there);
  return std::ranges::any_of(candidates, [&](const Candidate& candidate) {
    if (!candidate.is_estimated()) return false;
    const std::optional<Explanation> one = score(hypothesis, candidate, here);
    return one && covers(*one);
  });
}

/// What is estimated from the other rows, on a row that is held out; or from another layer's, on this one's.
HeldUp held_up(const Hypothesis& hypothesis, const Suspect& suspect,
               const std::function<Evidence()>& elsewhere) {
  const std::optional<HeldOut> parts = hold_out(suspect.evidence);
  const auto in = [&](const Evidence& evidence, At at) { return Suspect{evidence, at, suspect.direct}; };
  if (parts && agrees_with(hypothesis, in(parts->rest, suspect.at), in(parts->row, suspect.at)))
    return HeldUp::yes;
  if (elsewhere) {
    const Evidence other = elsewhere();
    const bool any = !other.observations.empty();
    if (any && agrees_with(hypothesis, in(other, {other.at.layer, suspect.at.stage}), suspect))
      return HeldUp::yes;
  }
  return parts ? HeldUp::no : HeldUp::no_other_row;
}

bool rivals(const Explanation& best, const Explanation& other) {
  if (reproduces(best) != reproduces(other) || covers(best) != covers(other) || best.seen) return false;
  if (covers(best) && best.fitted < other.fitted) return false;
  if (!best.overreaches && other.overreaches) return false;
  return best.explained_residual - other.explained_residual < kMargin;
}

}  // namespace

bool covers(const Explanation& e) {
  // Several numbers that are fitted take something off whatever is wrong.
  const bool fitted = e.held_up != HeldUp::nothing_estimated && e.fitted > 1;
  const double least = fitted ? 0.9 : 0.7;
  return e.noise_ratio <= 1 && e.explained_residual > least;
}

bool reproduces(const Explanation& e) {
  const bool holds = e.held_up == HeldUp::nothing_estimated || e.held_up == HeldUp::yes;
  return holds && covers(e);
}

std::optional<Explanation> best_of(const Hypothesis& hypothesis, const Evidence& evidence,
                                   const std::function<Evidence()>& elsewhere, std::string_view title) {
  std::optional<Explanation> best;
  const std::vector<Suspect> suspects = suspects_of(evidence);
  const Suspect* found_in = nullptr;
  for (const Suspect& suspect : suspects) {
    // Numbers of experts are no values: what is done to values is not asked of them.
    if (suspect.kind() == StageKind::choice && family_of(hypothesis) != CauseFamily::experts) continue;
    for (const Candidate& candidate : hypothesis.candidates(suspect)) {
      if (!title.empty() && candidate.title.en != title) continue;
      std::optional<Explanation> one = score(hypothesis, candidate, suspect);
      if (!one || !std::isfinite(one->explained_residual) || (best && !better(*one, *best))) continue;
      best = std::move(one);
      found_in = &suspect;
    }
  }
  if (best && best->held_up == HeldUp::yes && covers(*best))
    best->held_up = held_up(hypothesis, *found_in, elsewhere);
  return best;
}

namespace {

/// What says which elements are wrong, and nothing else.
constexpr std::string_view kDescribes = "corrupted_elements";

/// What makes one number of many that are not zero.
constexpr std::array<std::string_view, 2> kOfOneValue{"saturation", "non_finite"};

/// Whether all that is wrong is one number other than zero: a limit, or NaN. What else is equal to it is so
/// by chance.
bool is_one_value(const Evidence& evidence) {
  std::set<uint32_t> values;
  for (const Observation& seen : evidence.observations) {
    for (size_t i = 0; i < seen.observed.size() && values.size() < 2; ++i) {
      const bool inside = seen.in_affected(i) && seen.is_inside(static_cast<int64_t>(i) % seen.width);
      if (inside && seen.is_wrong(i)) values.insert(std::bit_cast<uint32_t>(std::abs(seen.observed[i])));
    }
  }
  return values.size() == 1 && *values.begin() != 0;
}

/// Where nothing reproduces all columns, or they are but described: what does in those alone that are wrong.
void add_conditioned(const Evidence& evidence, const Search& search, int threads,
                     std::vector<Explanation>& explanations) {
  if (!explanations.empty() && reproduces(explanations.front()) &&
      explanations.front().hypothesis->name != kDescribes)
    return;
  const std::optional<Condition> condition = condition_of(evidence);
  if (!condition) return;
  const Evidence inside = narrowed(evidence, *condition);
  std::function<Evidence()> elsewhere;
  if (search.elsewhere) elsewhere = [&] { return narrowed(search.elsewhere(), *condition); };
  std::vector<const Hypothesis*> some;
  const bool one_value = is_one_value(inside);
  for (const Hypothesis* hypothesis : hypotheses()) {
    const bool likely = std::ranges::find(search.likely, hypothesis->name) != search.likely.end();
    const bool fits = !one_value || std::ranges::find(kOfOneValue, hypothesis->name) != kOfOneValue.end();
    if (hypothesis->name != kDescribes && fits && (likely || search.in_full)) some.push_back(hypothesis);
  }
  std::vector<std::optional<Explanation>> best(some.size());
  parallel_for(threads, some.size(), [&](size_t i) { best[i] = best_of(*some[i], inside, elsewhere); });
  for (std::optional<Explanation>& one : best) {
    if (!one || !reproduces(*one)) continue;
    one->title.en += ", for " + condition->where.en;
    one->title.es += ", para " + condition->where.es;
    ++one->fitted;
    explanations.push_back(std::move(*one));
  }
  std::stable_sort(explanations.begin(), explanations.end(), better);
}

}  // namespace

std::vector<Explanation> explain(const Evidence& evidence, const Search& search, int threads) {
  std::vector<Explanation> explanations;
  if (evidence.observations.empty()) return explanations;
  const auto is_likely = [&](const Hypothesis* h) {
    return std::find(search.likely.begin(), search.likely.end(), h->name) != search.likely.end();
  };
  const auto try_all = [&](bool wanted) {
    std::vector<const Hypothesis*> some;
    for (const Hypothesis* hypothesis : hypotheses()) {
      if (is_likely(hypothesis) == wanted) some.push_back(hypothesis);
    }
    std::vector<std::optional<Explanation>> best(some.size());
    parallel_for(threads, some.size(),
                 [&](size_t i) { best[i] = best_of(*some[i], evidence, search.elsewhere); });
    for (std::optional<Explanation>& one : best) {
      if (one) explanations.push_back(std::move(*one));
    }
    std::stable_sort(explanations.begin(), explanations.end(), better);
  };
  try_all(true);
  if (search.in_full && (explanations.empty() || !reproduces(explanations.front()))) try_all(false);
  // Zeros are what a stage nearby shows them to be, if that makes zeros here, or what beside the right values
  // is nothing: a scale in f16 may be too small for any.
  constexpr std::string_view kZero = "output_zero";
  const auto makes_zeros = [&](const Explanation& e) {
    return is_likely(e.hypothesis) && e.hypothesis->name != kZero && e.explained_residual > 0.999;
  };
  const auto known = std::ranges::count_if(explanations, makes_zeros) == 1
                         ? std::ranges::find_if(explanations, makes_zeros)
                         : explanations.end();
  if (!explanations.empty() && explanations.front().hypothesis->name == kZero &&
      known != explanations.end()) {
    known->noise_ratio = 0;
    std::rotate(explanations.begin(), known, known + 1);
    explanations.resize(1);
    return explanations;
  }
  add_conditioned(evidence, search, threads, explanations);
  if (explanations.empty()) return explanations;
  if (auto other = with_other_arithmetic(explanations.front(), evidence, search))
    explanations.front() = std::move(*other);
  return explanations;
}

void name_cause(std::span<const Explanation> explanations, Finding& finding) {
  finding.cause = Cause::unexplained;
  finding.family = CauseFamily::none;
  finding.ruled_out.clear();
  if (explanations.empty()) return;
  const Explanation& best = explanations[0];
  finding.best = best.hypothesis->name;
  finding.explained_residual = best.explained_residual;
  finding.hypothesis_noise_ratio = best.noise_ratio;
  if (explanations.size() > 1) {
    finding.runner_up = explanations[1].hypothesis->name;
    finding.runner_up_residual = explanations[1].explained_residual;
  }
  for (const Explanation& other : explanations.subspan(1)) {
    finding.ruled_out.push_back({std::string(other.hypothesis->name), other.explained_residual});
  }
  finding.nearest = best.title;
  finding.held_up = best.held_up;
  const bool rival = explanations.size() > 1 && rivals(best, explanations[1]);
  // Of numbers from a single row two may be told as what it could be, one is no name.
  if (!reproduces(best) && !(rival && covers(best) && best.held_up == HeldUp::no_other_row)) return;
  finding.cause = rival ? Cause::ambiguous : Cause::named;
  if (!rival) finding.family = family_of(*best.hypothesis);
  finding.title = best.title;
  finding.by_arithmetic = best.by_arithmetic;
  if (!rival) return;
  finding.title.en += "; or: " + explanations[1].title.en;
  finding.title.es += "; o bien: " + explanations[1].title.es;
}

}  // namespace greta
