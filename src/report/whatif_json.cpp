#include <nlohmann/json.hpp>

#include "io/json_number.h"
#include "report/whatif.h"

namespace greta::report {
namespace {

/// What was recorded of a phase besides its rows for the cache.
std::string_view step(Phase phase) { return phase == Phase::prefill ? kPrefill : kDecode0; }

using nlohmann::json;

json mean_json(const Mean& mean) {
  return {{"mean", json_number(mean.value)},
          {"standard_error", json_number(mean.standard_error)},
          {"expected", mean.expected ? json_number(*mean.expected) : json(nullptr)}};
}

json bias_json(const std::vector<AccumulationBias>& all) {
  json list = json::array();
  for (const AccumulationBias& bias : all) {
    list.push_back({{"phase", step(bias.phase)},
                    {"route", bias.route},
                    {"kernels", bias.kernels},
                    {"count", bias.count},
                    {"inputs", bias.inputs},
                    {"up_ulp", mean_json(bias.up)},
                    {"outward_ulp", mean_json(bias.outward)}});
  }
  return list;
}

json judged_json(const UnitResult& unit) {
  return {{"device", unit.device},
          {"status", name(unit.status)},
          {"max_noise_ratio", json_number(unit.max_noise_ratio)},
          {"first_fault", unit.first_fault.empty() ? json(nullptr) : json(unit.first_fault)},
          {"bias", bias_json(unit.bias)}};
}

json unit_json(const UnitResult& unit) {
  json result = judged_json(unit);
  const LogitDifference& logits = unit.logits;
  result["logits"] = {{"positions", logits.positions},          {"top1_agree", logits.top1_agree},
                      {"kl_mean", json_number(logits.kl_mean)}, {"kl_max", json_number(logits.kl_max)},
                      {"max_abs", json_number(logits.max_abs)}, {"mean_abs", json_number(logits.mean_abs)}};
  result["drift"] = json::array();
  for (const Drift& drift : unit.drift)
    result["drift"].push_back({{"layer", drift.layer}, {"rel_l2", json_number(drift.rel_l2)}});
  result["stages"] = json::array();
  for (const StageDifference& stage : unit.stages) {
    result["stages"].push_back({{"phase", step(stage.phase)},
                                {"layer", stage.layer == kNoLayer ? json(nullptr) : json(stage.layer)},
                                {"stage", name(stage.stage)},
                                {"max_abs", json_number(stage.max_abs)},
                                {"mean_abs", json_number(stage.mean_abs)},
                                {"noise_ratio", json_number(stage.noise_ratio)}});
  }
  return result;
}

}  // namespace

json whatif_json(const WhatIf& result) {
  json prompts = json::array(), units = json::array();
  for (const auto& [id, tokens] : result.prompts) prompts.push_back({{"id", id}, {"tokens", tokens}});
  for (const UnitResult& unit : result.units) units.push_back(unit_json(unit));
  json reference = judged_json(result.reference);
  reference["name"] = kReferenceName;
  return {{"schema", "greta.whatif/1"},
          {"model", {{"name", result.model_name}, {"file", result.model_file}, {"hash", result.model_hash}}},
          {"command_line", result.command_line},
          {"isa", result.isa},
          {"kv_format", result.kv_format},
          {"sim_input", result.sim_input},
          {"routes", result.routes},
          {"injected", result.injected},
          {"prompts", prompts},
          {"layers", result.layers},
          {"seconds", result.seconds},
          {"reference", reference},
          {"devices", units},
          {"exit_code", exit_code_of(result)}};
}

}  // namespace greta::report
