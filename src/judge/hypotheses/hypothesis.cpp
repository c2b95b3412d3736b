#include "judge/hypotheses/hypothesis.h"

#include <algorithm>
#include <cmath>

namespace greta {
namespace {

struct Family {
  CauseFamily name;
  std::span<const Hypothesis> (*hypotheses)();
};

constexpr Family kFamilies[] = {
    {CauseFamily::weight, weight_hypotheses},     {CauseFamily::sum, sum_hypotheses},
    {CauseFamily::unit, unit_hypotheses},         {CauseFamily::output, output_hypotheses},
    {CauseFamily::input, input_hypotheses},       {CauseFamily::elementwise, elementwise_hypotheses},
    {CauseFamily::norm, norm_hypotheses},         {CauseFamily::rope, rope_hypotheses},
    {CauseFamily::cache, cache_hypotheses},       {CauseFamily::attention, attention_hypotheses},
    {CauseFamily::attention, softmax_hypotheses}, {CauseFamily::experts, expert_hypotheses},
    {CauseFamily::experts, choice_hypotheses},    {CauseFamily::attention, latent_hypotheses},
};

}  // namespace

CauseFamily family_of(const Hypothesis& hypothesis) {
  for (const Family& family : kFamilies) {
    for (const Hypothesis& one : family.hypotheses()) {
      if (&one == &hypothesis) return family.name;
    }
  }
  return CauseFamily::none;
}

const std::vector<const Hypothesis*>& hypotheses() {
  static const std::vector<const Hypothesis*> all = [] {
    std::vector<const Hypothesis*> list;
    for (const Family& family : kFamilies) {
      for (const Hypothesis& hypothesis : family.hypotheses()) list.push_back(&hypothesis);
    }
    return list;
  }();
  return all;
}

const StageProblem* find_maker(const StageProblem& problem, Stage stage) {
  for (const Operand& operand : problem.operands) {
    if (operand.made_by == nullptr) continue;
    if (operand.made_by->at.stage == stage) return operand.made_by.get();
    if (const StageProblem* deeper = find_maker(*operand.made_by, stage)) return deeper;
  }
  return nullptr;
}

Candidate computed_by(How how, Text title, int fitted) {
  return {.change =
              [how = std::move(how)](const Observation&, StageProblem& problem) {
                problem.how = how;
                return true;
              },
          .title = std::move(title),
          .fitted = fitted};
}

Candidate changed_afterwards(Afterwards change, Text title, int fitted) {
  const How how = [change = std::move(change)](const StageProblem& problem, const Values& values) {
    Expected expected = right_of(problem, values);
    change(problem, values, expected);
    return expected;
  };
  return computed_by(how, std::move(title), fitted);
}

Candidate by_outputs(Candidate candidate) {
  candidate.by_outputs = true;
  return candidate;
}

bool all_finite(std::span<const float> rows) {
  return std::all_of(rows.begin(), rows.end(), [](float x) { return std::isfinite(x); });
}

Candidate from_rows(size_t operand, RowsFor rows, Text title) {
  return {.change =
              [operand, rows = std::move(rows)](const Observation& seen, StageProblem& problem) {
                std::optional<SharedRows> other = rows(seen, problem);
                if (!other || !all_finite(*other) || operand >= problem.operands.size()) return false;
                problem.operands[operand] = {std::move(*other), nullptr};
                return true;
              },
          .title = std::move(title)};
}

Candidate with_weight(const Tensor* weight, Text title, std::shared_ptr<const void> keeps, int fitted) {
  return {.change =
              [weight, keeps = std::move(keeps)](const Observation&, StageProblem& problem) {
                problem.weight = weight;
                problem.keeps = keeps;
                return true;
              },
          .title = std::move(title),
          .fitted = fitted};
}

}  // namespace greta
