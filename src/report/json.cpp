#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/json_number.h"
#include "report/report.h"
#include "verdict/same_cause.h"

namespace greta::report {
namespace {

constexpr size_t kMaxSkipped = 100;

nlohmann::json runner_up(const Finding& finding) {
  if (finding.runner_up.empty()) return nullptr;
  return {{"hypothesis", finding.runner_up}, {"explained_residual", json_number(finding.runner_up_residual)}};
}

nlohmann::json ruled_out(const Finding& finding) {
  nlohmann::json list = nlohmann::json::array();
  for (const RuledOut& other : finding.ruled_out) {
    list.push_back(
        {{"hypothesis", other.hypothesis}, {"explained_residual", json_number(other.explained_residual)}});
  }
  return list;
}

nlohmann::json difference(const Finding& finding) {
  if (!finding.difference) return nullptr;
  const Difference& runs = *finding.difference;
  nlohmann::json told = nlohmann::json::array();
  for (const Text& sentence : runs.told) told.push_back(sentence.en);
  nlohmann::json json = {{"cause", runs.cause}, {"told", std::move(told)}};
  if (!runs.first) return json;
  json.update({{"layer", runs.first->layer},
               {"position", runs.first->position},
               {"what", runs.first->what},
               {"element", runs.first->element},
               {"expected", json_number(runs.first->expected)},
               {"observed", json_number(runs.first->observed)}});
  return json;
}

nlohmann::json intervention(const Finding& finding) {
  if (!finding.intervention) return nullptr;
  const Intervention& done = *finding.intervention;
  const std::string_view phase = finding.phase == Phases::both ? "both phases" : name(finding.phase);
  return {{"what", fmt::format("oracle's {} in {}", name(finding.stage), phase)},
          {"mismatch_removed", done.mismatch_removed},
          {"mismatch_before", json_number(done.mismatch_before)},
          {"mismatch_after", json_number(done.mismatch_after)},
          {"logits_before", json_number(done.logits_before)},
          {"logits_after", json_number(done.logits_after)},
          {"prompt", done.prompt}};
}

template <class T>
nlohmann::json names(const std::vector<T>& items) {
  nlohmann::json list = nlohmann::json::array();
  for (const T& item : items) list.push_back(name(item));
  return list;
}

nlohmann::json to_json(const Factor& factor) {
  return {{"stages", names(factor.stages)},
          {"attributes", factor.attributes},
          {"wrong_values", factor.wrong_values},
          {"wrong", factor.wrong},
          {"right", factor.right}};
}

/// What came close; null where a name reproduces it, and where nothing applies.
nlohmann::json resembles(const Finding& finding) {
  if (finding.cause == Cause::named || finding.best.empty()) return nullptr;
  return {{"hypothesis", finding.best},
          {"what", finding.nearest.en},
          {"what_es", finding.nearest.es},
          {"explained_residual", json_number(finding.explained_residual)},
          {"leaves_noise_ratio", json_number(finding.hypothesis_noise_ratio)}};
}

nlohmann::json to_json(const Finding& finding) {
  return {{"phase", name(finding.phase)},
          {"layer", finding.layer},
          {"stage", name(finding.stage)},
          {"cells", names(finding.cells)},
          {"prompts_that_cannot_show", finding.prompts_that_cannot_show},
          {"hypothesis", finding.hypothesis()},
          {"title", finding.title.en},
          {"title_es", finding.title.es},
          {"explained_residual", json_number(finding.explained_residual)},
          {"runner_up", runner_up(finding)},
          {"best_hypothesis", finding.best},
          {"hypothesis_noise_ratio", json_number(finding.hypothesis_noise_ratio)},
          {"nearest", finding.nearest.en},
          {"nearest_es", finding.nearest.es},
          {"held_up", name(finding.held_up)},
          {"sought", finding.sought},
          {"by_arithmetic", finding.by_arithmetic},
          {"ruled_out", ruled_out(finding)},
          {"difference", difference(finding)},
          {"pattern", finding.pattern.en},
          {"pattern_es", finding.pattern.es},
          {"resembles", resembles(finding)},
          {"kernels", finding.kernels},
          {"scope", finding.scope ? to_json(*finding.scope) : nlohmann::json()},
          {"gap", names(finding.gap)},
          {"intervention", intervention(finding)},
          {"noise_ratio", json_number(finding.noise_ratio)},
          {"noise_ratio_prefill", json_number(finding.noise_ratio_prefill)},
          {"noise_ratio_decode", json_number(finding.noise_ratio_decode)},
          {"mae", json_number(finding.mae)}};
}

nlohmann::json to_json(const Cell& cell) {
  nlohmann::json json{{"experiment", cell.key.experiment},
                      {"prompt", cell.key.prompt},
                      {"prompt_tokens", cell.prompt_tokens},
                      {"verdict", name(cell.verdict)},
                      {"q_mae", json_number(cell.q.mae)},
                      {"k_mae", json_number(cell.k.mae)},
                      {"v_mae", json_number(cell.v.mae)},
                      {"paired", cell.paired},
                      {"attn_norm_mae", json_number(cell.attn_norm_mae)},
                      {"attn_norm_hash_prefill", cell.attn_norm_hash_prefill},
                      {"attn_norm_hash_decode", cell.attn_norm_hash_decode},
                      {"q_route", cell.q.route},
                      {"k_route", cell.k.route},
                      {"v_route", cell.v.route},
                      {"q_kernel", cell.q.kernel},
                      {"k_kernel", cell.k.kernel},
                      {"v_kernel", cell.v.kernel},
                      {"prefill_q_kernel", cell.prefill_q_kernel},
                      {"force_route", cell.force_route},
                      {"force_gemm", cell.force_gemm},
                      {"attested", cell.attested},
                      {"logits_top1_agree", nullptr},
                      {"max_noise_ratio", json_number(cell.max_noise_ratio)},
                      {"pairs",
                       {{"EQUAL", cell.pairs_equal},
                        {"ROUNDING", cell.pairs_rounding},
                        {"FAULT", cell.pairs_fault},
                        {"PROPAGATED", cell.pairs_propagated}}},
                      {"first_difference", nullptr}};
  if (cell.logits_top1_agree) {
    json["logits_top1_agree"] = *cell.logits_top1_agree;
    json["logits_kl"] = json_number(cell.logits_kl);
    json["logits_margin"] = json_number(cell.logits_margin);
  }
  if (cell.has_first_difference) {
    json["first_difference"] = {{"layer", cell.first_layer}, {"stage", name(cell.first_stage)}};
  }
  return json;
}

nlohmann::json to_json(const StagePair& pair) {
  const PairMetrics& metrics = pair.metrics;
  return {{"cell", name(pair.cell)},
          {"layer", pair.layer},
          {"stage", name(pair.stage)},
          {"verdict", name(pair.status)},
          {"count", metrics.count},
          {"differing", metrics.differing},
          {"first_differing", metrics.first_differing},
          {"mae", json_number(metrics.mae)},
          {"max_abs", json_number(metrics.max_abs)},
          {"rel_l2", json_number(metrics.rel_l2)},
          {"cosine", json_number(metrics.cosine)},
          {"norm_ratio", json_number(metrics.norm_ratio)},
          {"max_ulp", metrics.max_ulp},
          {"noise_ratio", json_number(pair.noise_ratio)},
          {"hash_prefill", pair.hash_prefill},
          {"hash_decode", pair.hash_decode},
          {"why", pair.why}};
}

/// Of each cell the first pair that differs and, if that is another one, its first FAULT: what one looks at.
/// The thousands of others are in the bundle.
nlohmann::json differences(const std::vector<StagePair>& pairs) {
  nlohmann::json list = nlohmann::json::array();
  std::map<CellKey, bool> seen;  // cell -> whether its FAULT was listed
  for (const StagePair& pair : pairs) {
    if (pair.status == PairStatus::equal || pair.status == PairStatus::missing) continue;
    const auto [entry, is_first] = seen.try_emplace(pair.cell, false);
    const bool first_fault = pair.status == PairStatus::fault && !entry->second;
    if (!is_first && !first_fault) continue;
    entry->second |= first_fault;
    list.push_back(to_json(pair));
  }
  return list;
}

nlohmann::json to_json(const Coverage& coverage) {
  const size_t listed = std::min(coverage.skipped.size(), kMaxSkipped);
  return {
      {"percent", coverage.percent()},
      {"judged", coverage.judged},
      {"recorded", coverage.recorded},
      {"propagated", coverage.propagated},
      {"judged_alone", coverage.alone},
      {"skipped", std::vector<std::string>(coverage.skipped.begin(),
                                           coverage.skipped.begin() + static_cast<std::ptrdiff_t>(listed))},
      {"skipped_total", coverage.skipped.size()}};
}

nlohmann::json to_json(const KernelArithmetic& kernels) {
  return {{"phase", name(kernels.phase)},
          {"stages", names(kernels.stages)},
          {"weight_type", kernels.weight_type},
          {"what", kernels.what},
          {"source", name(kernels.source)}};
}

nlohmann::json to_json(const JudgedOp& op) {
  return {{"op", op.op},
          {"name", op.name},
          {"kernel", op.kernel},
          {"phase", op.phase},
          {"layer", op.layer},
          {"status", name(op.status)},
          {"recorded", op.recorded},
          {"wrong", op.wrong},
          {"unmeasured", op.unmeasured},
          {"noise_ratio", json_number(op.noise_ratio)},
          {"arithmetic", op.arithmetic},
          {"why", op.why},
          {"hypothesis", op.hypothesis},
          {"title", op.title.en},
          {"explained_residual", json_number(op.explained_residual)}};
}

nlohmann::json to_json(const UntestedWrite& write) {
  return {{"cell", name(write.cell)}, {"layers", write.layers}, {"recorded", write.recorded}};
}

nlohmann::json to_json(const RouteDifference& difference) {
  return {{"stages", names(difference.stages)},
          {"weight_type", difference.weight_type},
          {"prefill", difference.prefill},
          {"decode", difference.decode},
          {"mae", json_number(difference.mae)}};
}

nlohmann::json to_json(const Trust& trust) {
  nlohmann::json others = nlohmann::json::array();
  for (const TrustedValue& value : trust.others) {
    others.push_back({{"what", value.what.en},
                      {"used", value.used},
                      {"instead", value.instead},
                      {"more_loss", json_number(value.more)},
                      {"standard_error", json_number(value.error)}});
  }
  return {{"tokens", trust.tokens}, {"loss", json_number(trust.loss)}, {"others", others}};
}

nlohmann::json to_json(const Exercise& exercise) {
  nlohmann::json missing = nlohmann::json::array();
  for (const Text& what : exercise.not_exercised) missing.push_back(what.en);
  return {{"seed", exercise.seed},
          {"held", exercise.held},
          {"prompts", exercise.prompts},
          {"first_tokens", exercise.first_tokens},
          {"own_tokens", exercise.own_tokens},
          {"blocks", exercise.blocks},
          {"threads", exercise.threads},
          {"judged", exercise.judged},
          {"steps", exercise.steps},
          {"caches", exercise.caches},
          {"kernels_equal", exercise.equal},
          {"kernels_unvouched", exercise.unvouched},
          {"trust", to_json(exercise.trust)},
          {"not_exercised", std::move(missing)}};
}

template <class T>
nlohmann::json list_of(const std::vector<T>& items) {
  nlohmann::json list = nlohmann::json::array();
  for (const T& item : items) list.push_back(to_json(item));
  return list;
}

/// The findings of each cause, by their indices.
nlohmann::json causes(const Verdict& verdict) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::vector<size_t>& cause : by_cause(verdict.findings)) {
    const Finding& first = verdict.findings[cause.front()];
    list.push_back({{"phase", name(first.phase)},
                    {"hypothesis", first.hypothesis()},
                    {"title", first.title.en},
                    {"findings", cause}});
  }
  return list;
}

nlohmann::json prompts_of(const std::vector<Cell>& cells) {
  nlohmann::json list = nlohmann::json::array();
  std::map<std::string, bool> seen;
  for (const Cell& cell : cells) {
    if (seen.emplace(cell.key.prompt, true).second)
      list.push_back({{"id", cell.key.prompt}, {"tokens", cell.prompt_tokens}});
  }
  return list;
}

}  // namespace

nlohmann::json to_json(const Verdict& verdict) {
  nlohmann::json flags = nlohmann::json::array();
  for (const Flag& flag : verdict.flags) {
    flags.push_back({{"flag", name(flag.kind)}, {"cell", name(flag.cell)}, {"why", flag.why}});
  }
  return {
      {"schema", "greta.verdict/1"},
      {"verdict", name(verdict.status)},
      {"exit_code", exit_code(verdict.status)},
      {"aligned", verdict.aligned},
      {"engine", verdict.engine},
      {"engine_version", verdict.engine_version},
      {"model", {{"name", verdict.model_name}, {"file", verdict.model_file}, {"hash", verdict.model_hash}}},
      {"device", verdict.device},
      {"isa", verdict.isa},
      {"kv_format", verdict.kv_format},
      {"threads", verdict.threads},
      {"command_line", verdict.command_line},
      {"date", verdict.date},
      {"seconds", json_number(verdict.seconds)},
      {"injected", verdict.injected},
      {"layers", verdict.layers},
      {"prompts", prompts_of(verdict.cells)},
      {"flags", flags},
      {"untested_writes", list_of(verdict.untested_writes)},
      {"arithmetic", list_of(verdict.arithmetic)},
      {"route_differences", list_of(verdict.route_differences)},
      {"ops", list_of(verdict.ops)},
      {"factors", list_of(verdict.factors)},
      {"causes", causes(verdict)},
      {"coverage", to_json(verdict.coverage)},
      {"exercise", verdict.exercise ? to_json(*verdict.exercise) : nlohmann::json()},
      {"findings", list_of(verdict.findings)},
      {"cells", list_of(verdict.cells)},
      {"differences", differences(verdict.pairs)}};
}

}  // namespace greta::report
