#include "report/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "report/attn_pipe.h"
#include "verdict/same_cause.h"

namespace greta::report {
namespace {

/// Which verdict of an experiment's cells stands for the experiment.
int severity(RunStatus status) {
  if (status == RunStatus::fault) return 3;
  return status == RunStatus::equal ? 0 : status == RunStatus::rounding ? 1 : 2;
}

void group_experiments(const Verdict& verdict, Facts& facts) {
  for (const std::string& experiment : facts.experiments) {
    RunStatus worst = RunStatus::equal;
    for (const Cell& cell : verdict.cells) {
      if (cell.key.experiment == experiment && severity(cell.verdict) > severity(worst)) worst = cell.verdict;
    }
    facts.groups[worst].push_back(experiment);
  }
}

void add_intervention(const Finding& finding, FindingGroup& group) {
  if (!finding.intervention) return;
  const bool failed = !finding.intervention->mismatch_removed;
  const bool first_failure = failed && group.confirmed == group.interventions;
  if (group.interventions == 0 || first_failure) {
    group.first.intervention = finding.intervention;
    group.intervention_at = {finding.layer, finding.stage};
  }
  ++group.interventions;
  group.confirmed += !failed;
}

void add_finding(const Finding& finding, FindingGroup& group) {
  Finding& first = group.first;
  const auto place = std::ranges::find(group.places, finding.stage, &FindingGroup::Place::stage);
  FindingGroup::Place& here =
      place == group.places.end() ? group.places.emplace_back(FindingGroup::Place{finding.stage}) : *place;
  if (finding.layer != kNoLayer) here.layers.push_back(finding.layer);
  for (const CellKey& cell : finding.cells) add_unique(first.cells, cell);
  for (const std::string& prompt : finding.prompts_that_cannot_show)
    add_unique(first.prompts_that_cannot_show, prompt);
  first.noise_ratio = std::max(first.noise_ratio, finding.noise_ratio);
  first.noise_ratio_prefill = std::max(first.noise_ratio_prefill, finding.noise_ratio_prefill);
  first.noise_ratio_decode = std::max(first.noise_ratio_decode, finding.noise_ratio_decode);
  first.hypothesis_noise_ratio = std::max(first.hypothesis_noise_ratio, finding.hypothesis_noise_ratio);
  first.mae = std::max(first.mae, finding.mae);
  if (finding.sought)
    first.explained_residual = std::min(first.explained_residual, finding.explained_residual);
  first.sought = first.sought && finding.sought;
  if (group.pattern_varies || first.pattern.en != finding.pattern.en) {
    group.pattern_varies = true;
    first.pattern = {};
  }
  add_intervention(finding, group);
}

std::vector<FindingGroup> group_findings(const std::vector<Finding>& findings) {
  std::vector<FindingGroup> groups;
  for (std::vector<size_t>& cause : by_cause(findings)) {
    FindingGroup& group = groups.emplace_back(FindingGroup{.first = findings[cause.front()]});
    for (const size_t i : cause) add_finding(findings[i], group);
    group.members = std::move(cause);
  }
  return groups;
}

/// Prompts of the first experiment with equal hashes of layer 0's q in both phases.
std::vector<std::vector<std::string>> prompts_of_one_token(const Verdict& verdict) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> by_hash;
  for (const StagePair& pair : verdict.pairs) {
    const bool first = pair.cell.experiment == verdict.cells.front().key.experiment;
    if (!first || pair.layer != 0 || pair.stage != Stage::q || pair.hash_prefill.empty()) continue;
    by_hash[{pair.hash_prefill, pair.hash_decode}].push_back(pair.cell.prompt);
  }
  std::vector<std::vector<std::string>> groups;
  for (auto& [hash, prompts] : by_hash) {
    if (prompts.size() > 1) groups.push_back(std::move(prompts));
  }
  return groups;
}

std::vector<std::string> compared_stages(const Verdict& verdict) {
  std::set<Stage> stages;
  for (const StagePair& pair : verdict.pairs) {
    if (!pair.judged_alone && pair.status != PairStatus::missing) stages.insert(pair.stage);
  }
  std::vector<std::string> names;
  for (const Stage stage : stages) names.emplace_back(name(stage));
  return names;
}

/// "E0/p L0 q: not recorded in decode0" -> "not recorded in decode0".
std::string reason(const std::string& skipped) {
  const size_t colon = skipped.find(": ");
  return colon == std::string::npos ? skipped : skipped.substr(colon + 2);
}

}  // namespace

Facts facts_of(const Verdict& verdict) {
  Facts facts;
  for (const StageNoise& noise : verdict.noise) {
    const bool single = info(noise.stage).kind == StageKind::sum;
    double& most = single ? facts.max_of_single_roundings : facts.max_of_others;
    most = std::max(most, noise.ratio);
  }
  for (const Cell& cell : verdict.cells) {
    add_unique(facts.experiments, cell.key.experiment);
    add_unique(facts.prompts, cell.key.prompt);
    if (cell.prompt_tokens == 1) add_unique(facts.one_token_prompts, cell.key.prompt);
    if (!cell.attested) facts.unattested.push_back(cell.key);
    facts.logits_recorded |= cell.logits_top1_agree.has_value();
    if (cell.logits_top1_agree == false) facts.top1_differs.push_back(cell.key);
    facts.any_pair |= cell.paired;
    facts.mae_all_zero &= cell.q.mae == 0 && cell.k.mae == 0 && cell.v.mae == 0;
    facts.max_noise_ratio = std::max(facts.max_noise_ratio, cell.max_noise_ratio);
  }
  group_experiments(verdict, facts);
  facts.effects = effects_of(verdict);
  if (!verdict.cells.empty()) facts.same_last_token = prompts_of_one_token(verdict);
  facts.findings = group_findings(verdict.findings);
  facts.only_compared = compared_stages(verdict);
  for (const std::string& skipped : verdict.coverage.skipped) ++facts.skipped[reason(skipped)];
  return facts;
}

std::optional<double> noise_at(const Verdict& verdict, Phase phase, int layer, Stage stage) {
  for (const StageNoise& noise : verdict.noise) {
    if (noise.phase == phase && noise.layer == layer && noise.stage == stage) return noise.ratio;
  }
  return std::nullopt;
}

std::string layer_ranges(std::vector<int> layers) {
  std::sort(layers.begin(), layers.end());
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] <= layers[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += layers[i] == layers[last] ? fmt::format("{}", layers[i])
                                      : fmt::format("{}-{}", layers[i], layers[last]);
    i = last + 1;
  }
  return text.empty() ? "-" : text;
}

std::string join(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

std::string mae_text(const Cell& cell, double mae) { return cell.paired ? fmt::format("{:.5e}", mae) : "-"; }

std::string routes_used(const Cell& cell) {
  const auto word = [](const std::string& route) {
    return route.empty() ? std::string("-") : std::string(b3_31_route_used(route));
  };
  if (cell.q.route == cell.k.route && cell.k.route == cell.v.route) return word(cell.q.route);
  return word(cell.q.route) + "/" + word(cell.k.route) + "/" + word(cell.v.route);
}

std::string route_forced(const Cell& cell) { return std::string(b3_31_route_forced(cell.force_route)); }

}  // namespace greta::report
