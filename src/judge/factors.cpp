#include "judge/factors.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace greta {
namespace {

using Trials = std::vector<const Trialled*>;
using Words = std::vector<std::string>;  // of the attributes that are looked at

/// More values than these are a list, not an answer.
constexpr size_t kMostValues = 4;

Words values_of(const Trialled& trial, const std::vector<size_t>& attributes) {
  Words values;
  for (const size_t i : attributes) values.push_back(trial.attributes[i].second);
  return values;
}

/// nullopt where some values are of right and of wrong recordings.
std::optional<Factor> split_by(const Trials& trials, const std::vector<size_t>& attributes) {
  std::set<Words> wrong, right;
  for (const Trialled* trial : trials) (trial->wrong ? wrong : right).insert(values_of(*trial, attributes));
  const bool both =
      std::any_of(wrong.begin(), wrong.end(), [&](const Words& v) { return right.contains(v); });
  if (both || wrong.size() > kMostValues) return std::nullopt;
  Factor factor;
  for (const size_t i : attributes) factor.attributes.push_back(trials.front()->attributes[i].first);
  factor.wrong_values.assign(wrong.begin(), wrong.end());
  std::set<Stage> stages;
  for (const Trialled* trial : trials) {
    ++(trial->wrong ? factor.wrong : factor.right);
    if (trial->wrong) stages.insert(trial->stage);
  }
  factor.stages.assign(stages.begin(), stages.end());
  return factor;
}

std::optional<Factor> factor_of(const Trials& trials) {
  const size_t n = trials.front()->attributes.size();
  for (size_t i = 0; i < n; ++i) {
    if (auto factor = split_by(trials, {i})) return factor;
  }
  std::optional<Factor> best;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      auto factor = split_by(trials, {i, j});
      if (factor && (!best || factor->wrong_values.size() < best->wrong_values.size()))
        best = std::move(factor);
    }
  }
  return best;
}

}  // namespace

std::vector<Factor> factors_of(const std::vector<Trialled>& trials) {
  std::map<StageKind, Trials> kinds;
  for (const Trialled& trial : trials) kinds[info(trial.stage).kind].push_back(&trial);
  std::vector<Factor> factors;
  for (const auto& [kind, some] : kinds) {
    const auto is_wrong = [](const Trialled* trial) { return trial->wrong; };
    const bool any = std::any_of(some.begin(), some.end(), is_wrong);
    if (!any || std::all_of(some.begin(), some.end(), is_wrong)) continue;
    if (auto factor = factor_of(some)) factors.push_back(std::move(*factor));
  }
  return factors;
}

}  // namespace greta
