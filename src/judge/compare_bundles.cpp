#include "judge/compare_bundles.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "judge/attest.h"
#include "judge/inference.h"
#include "judge/raw_scores.h"

namespace greta {
namespace {

struct Run {
  CellKey cell;
  std::string phase;
  bool operator==(const Run&) const = default;
};

std::string label(const Run& run) { return name(run.cell) + " " + run.phase; }

std::vector<Run> runs_of(const Bundle& bundle) {
  std::vector<Run> runs;
  for (const Event& event : bundle.events) {
    const Run run{event.key(), event.phase};
    if (std::find(runs.begin(), runs.end(), run) == runs.end()) runs.push_back(run);
  }
  return runs;
}

std::set<std::string> experiments_of(const Bundle& bundle) {
  std::set<std::string> names;
  for (const Event& event : bundle.events) names.insert(event.experiment);
  return names;
}

int layers_of(const Bundle& a, const Bundle& b) {
  int layers = 0;
  for (const Bundle* bundle : {&a, &b}) {
    for (const Event& event : bundle->events) layers = std::max(layers, event.layer + 1);
  }
  return layers;
}

RunStatus status_of(const std::vector<StagePair>& pairs) {
  const auto any = [&](PairStatus status) {
    return std::any_of(pairs.begin(), pairs.end(),
                       [&](const StagePair& pair) { return pair.status == status; });
  };
  if (pairs.empty()) return RunStatus::vacuous;
  if (any(PairStatus::fault)) return RunStatus::fault;
  if (any(PairStatus::missing)) return RunStatus::inconclusive;
  return any(PairStatus::rounding) || any(PairStatus::propagated) ? RunStatus::rounding : RunStatus::equal;
}

}  // namespace

BundleComparison compare_bundles(const Bundle& recorded_a, const Bundle& recorded_b, const Model* model,
                                 int threads, const Step& step) {
  std::optional<Bundle> of_a, of_b;
  if (model != nullptr) {
    of_a = with_scale_and_mask(recorded_a, *model);
    of_b = with_scale_and_mask(recorded_b, *model);
  }
  const Bundle &a = of_a ? *of_a : recorded_a, &b = of_b ? *of_b : recorded_b;
  demand_known_declarations(a);
  demand_known_declarations(b);
  BundleComparison result;
  // One experiment against another: the prompt and the phase are what must match.
  const bool rename = experiments_of(a).size() == 1 && experiments_of(b).size() == 1;
  std::vector<Run> rest = runs_of(b);
  const std::vector<Run> runs = runs_of(a);
  KnownJudgements known;  // runs share recordings, and inference has judged all rows before
  size_t done = 0;
  for (const Run& run : runs) {
    if (step) step(done++, runs.size());
    const auto match = std::find_if(rest.begin(), rest.end(), [&](const Run& other) {
      const bool cell = rename ? other.cell.prompt == run.cell.prompt : other.cell == run.cell;
      return cell && other.phase == run.phase;
    });
    if (match == rest.end()) {
      result.only_a.push_back(label(run));
      continue;
    }
    const std::vector<TokenId> tokens = prompt_tokens(a, run.cell.prompt);
    PhaseRecord left{model, PhaseView(a, run.cell, run.phase), tokens};
    PhaseRecord right{model, PhaseView(b, match->cell, match->phase), tokens};
    rest.erase(match);
    std::optional<OraclePass> oracle;
    InferredArithmetic of_left, of_right;  // two engines, or one before and after
    if (model != nullptr) {
      const OraclePass::Options options{.threads = threads, .known = &known};
      left.inferred = &of_left, right.inferred = &of_right;
      infer_arithmetic({&left}, options, of_left);
      infer_arithmetic({&right}, options, of_right);
      oracle.emplace(options);
      oracle->add(left);
      oracle->add(right);
      oracle->run();
    }
    for (StagePair& pair :
         judge_pairs({left.view, right.view, oracle ? &*oracle : nullptr, model ? &model->config : nullptr,
                      layers_of(a, b), run.cell, run.phase, ""})) {
      ++result.coverage.recorded;
      result.coverage.judged += pair.status != PairStatus::missing;
      result.coverage.propagated += pair.status == PairStatus::propagated;
      result.coverage.alone += pair.judged_alone;
      if (pair.status == PairStatus::missing) {
        result.coverage.skipped.push_back(
            fmt::format("{} L{} {}: {}", label(run), pair.layer, name(pair.stage), pair.why));
      }
      result.pairs.push_back(std::move(pair));
    }
  }
  for (const Run& run : rest) result.only_b.push_back(label(run));
  result.status = status_of(result.pairs);
  return result;
}

}  // namespace greta
