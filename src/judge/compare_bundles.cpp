#include "judge/compare_bundles.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "judge/attest.h"

namespace greta {
namespace {

using Run = std::pair<std::string, std::string>;  // cell, phase

std::vector<Run> runs_of(const Bundle& bundle) {
  std::vector<Run> runs;
  for (const Event& event : bundle.events) {
    const Run run{event.cell, event.phase};
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

void conclude(BundleComparison& result) {
  const auto any = [&](Status status) {
    return std::any_of(result.pairs.begin(), result.pairs.end(),
                       [&](const StagePair& pair) { return pair.status == status; });
  };
  if (result.pairs.empty()) {
    result.status = Status::vacuous;
  } else if (any(Status::fault)) {
    result.status = Status::fault;
  } else if (any(Status::missing)) {
    result.status = Status::inconclusive;
  } else {
    result.status = any(Status::rounding) || any(Status::propagated) ? Status::rounding : Status::equal;
  }
  const bool fine = result.status == Status::equal || result.status == Status::rounding;
  result.exit_code = result.status == Status::fault ? 1 : (fine ? 0 : 4);
}

std::string prompt_of(const std::string& cell) { return cell.substr(cell.find('/') + 1); }

}  // namespace

BundleComparison compare_bundles(const Bundle& a, const Bundle& b, const Model* model, int threads) {
  BundleComparison result;
  // One experiment against another: the prompt and the phase are what must match.
  const bool rename = experiments_of(a).size() == 1 && experiments_of(b).size() == 1;
  std::vector<Run> rest = runs_of(b);
  for (const Run& run : runs_of(a)) {
    const auto match = std::find_if(rest.begin(), rest.end(), [&](const Run& other) {
      const bool cell = rename ? prompt_of(other.first) == prompt_of(run.first) : other.first == run.first;
      return cell && other.second == run.second;
    });
    const std::string label = run.first + " " + run.second;
    if (match == rest.end()) {
      result.only_a.push_back(label);
      continue;
    }
    const std::vector<TokenId> tokens = prompt_tokens(a, prompt_of(run.first));
    const PhaseRecord left{model, PhaseView(a, run.first, run.second), tokens, nullptr};
    const PhaseRecord right{model, PhaseView(b, match->first, match->second), tokens, nullptr};
    rest.erase(match);
    std::optional<OraclePass> oracle;
    if (model != nullptr) {
      oracle.emplace();
      oracle->add(left);
      oracle->add(right);
      oracle->run(threads);
    }
    for (StagePair& pair : judge_pairs({left.view, right.view, oracle ? &*oracle : nullptr,
                                        model ? &model->config : nullptr, layers_of(a, b), label, ""})) {
      ++result.coverage.recorded;
      result.coverage.judged += pair.status != Status::missing;
      result.coverage.propagated += pair.status == Status::propagated;
      result.coverage.alone += pair.judged_alone;
      if (pair.status == Status::missing) {
        result.coverage.skipped.push_back(
            fmt::format("{} L{} {}: {}", label, pair.layer, name(pair.stage), pair.why));
      }
      result.pairs.push_back(std::move(pair));
    }
  }
  for (const Run& run : rest) result.only_b.push_back(run.first + " " + run.second);
  conclude(result);
  return result;
}

}  // namespace greta
