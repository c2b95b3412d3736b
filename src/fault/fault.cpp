#include "fault/fault.h"

#include <algorithm>

#include "base/error.h"
#include "fault/bank.h"

namespace greta {
namespace {

constexpr std::string_view kRouteIgnored = "qkv_route_ignored";

std::vector<Fault> all_faults() {
  std::vector<Fault> all;
  for (const auto& group :
       {weight_faults, quantised_faults, reduction_faults, output_faults, input_faults, norm_faults,
        rope_faults, cache_faults, score_faults, attention_faults, unit_faults, unexplained_faults}) {
    FaultList list = group();
    std::move(list.begin(), list.end(), std::back_inserter(all));
  }
  Fault ignored;
  ignored.name = ignored.fault_class = kRouteIgnored;
  ignored.what = "forced routes of q, k and v have no effect";
  ignored.source = kFounding + " (B3.31)";
  all.push_back(std::move(ignored));
  for (const auto& group : {architecture_faults, expert_faults, gpt_oss_faults, latent_faults}) {
    for (Fault& fault : group()) all.push_back(std::move(fault));
  }
  return all;
}

bool concerns(const FaultSpec& spec, Phase phase) { return !spec.phase || *spec.phase == phase; }

/// Puts one wrong computation at all ops of `stage` that the spec names; how many there were.
int apply_at(PlanEdit& edit, const Engine& engine, const FaultSpec& spec, Stage stage,
             const MakeWrong& make) {
  const auto concerned = [&](At at) { return at.stage == stage && (!spec.layer || *spec.layer == at.layer); };
  edit.unfuse(concerned);
  int count = 0;
  for (Op& op : edit.ops()) {
    if (!op.makes || !concerned(*op.made())) continue;
    if (spec.condition.k_above && kernel_call(op)->weight->k <= *spec.condition.k_above) continue;
    TwinSite site{edit, op, engine, spec.size.value_or(spec.fault->size), *spec.state};
    Wrong wrong = make(site);
    if (!wrong) continue;  // the layer can't have it
    edit.replace(op,
                 make_twin(site, "fault: " + spec.fault->name, std::move(wrong), spec.condition, spec.state));
    ++count;
  }
  return count;
}

/// A condition on heads that the model does not have.
void check_heads(const FaultSpec& spec, const ModelConfig& config) {
  const int64_t heads = row_heads(spec.fault->stage, config);
  if (spec.condition.from_head && *spec.condition.from_head >= heads) {
    fail_input("--inject {}: head {} of {} heads at {}", spec.text, *spec.condition.from_head, heads,
               name(spec.fault->stage));
  }
}

void apply_fault(PlanEdit& edit, const Engine& engine, const FaultSpec& spec) {
  check_heads(spec, engine.model().config);
  const Fault& fault = *spec.fault;
  const int count = apply_at(edit, engine, spec, fault.stage, fault.make);
  // A plan that only fills the cache has no head to put a fault into.
  if (count == 0 && !(is_outside_layers(fault.stage) && edit.logits() == kNoBuffer)) {
    fail_input("--inject {}: no op of this model's {} can have it; check the layer and conditions", spec.text,
               name(edit.phase()));
  }
  if (fault.also_stage) apply_at(edit, engine, spec, *fault.also_stage, fault.also);
}

/// The routes that an engine with these faults really plans with.
RouteTable effective_routes(const RouteTable& wanted, std::span<const FaultSpec> specs, Phase phase) {
  const bool ignored = std::any_of(specs.begin(), specs.end(), [&](const FaultSpec& spec) {
    return spec.fault->name == kRouteIgnored && concerns(spec, phase);
  });
  return ignored ? RouteTable{} : wanted;
}

}  // namespace

std::span<const Fault> faults() {
  static const std::vector<Fault> all = all_faults();
  return all;
}

bool suits(const Fault& fault, const Model& model) {
  if (fault.needs == Needs::cap && cap_of(fault.stage, model.config) == 0) return false;
  const ModelConfig& config = model.config;
  if (fault.needs == Needs::latent && !config.is_latent()) return false;
  if (fault.needs == Needs::sigmoid && !config.choice.by_sigmoid) return false;
  if (fault.needs == Needs::groups && config.choice.groups_used == config.choice.groups) return false;
  if (is_outside_layers(fault.stage)) return true;
  for (int layer = 0; layer < model.config.n_layer; ++layer) {
    if (!has_stage(model.config, {layer, fault.stage})) continue;
    if (fault.needs == Needs::bias && bias_of(model, {fault.stage, layer}) == nullptr) continue;
    if (fault.needs == Needs::yarn && model.config.layer(layer).yarn.factor == 1) continue;
    const bool biased = bias_of(model, {Stage::experts, layer}) != nullptr;
    if (fault.needs == Needs::choice_bias && !biased) continue;
    if (fault.needs == Needs::rope_length && model.config.layer(layer).rope_magnitude == 1) continue;
    if (fault.needs == Needs::rope_factors && model.rope_freqs == nullptr) continue;
    if (fault.needs == Needs::long_rope && model.rope_long == nullptr) continue;
    if (fault.needs == Needs::sinks && weight_of(model, {fault.stage, layer}) == nullptr) continue;
    if (fault.needs == Needs::swiglu_oai && model.config.activation != Activation::swiglu_oai) continue;
    if (fault.needs == Needs::window && model.config.layer(layer).window == 0) continue;
    return true;
  }
  return false;
}

void apply_faults(PlanEdit& edit, const Engine& engine, std::span<const FaultSpec> specs) {
  for (const FaultSpec& spec : specs) {
    if (concerns(spec, edit.phase()) && spec.fault->make) apply_fault(edit, engine, spec);
  }
}

PlanChange fault_change(const Engine& engine, std::vector<FaultSpec> specs) {
  if (specs.empty()) return {};
  const auto shared = std::make_shared<const std::vector<FaultSpec>>(std::move(specs));
  return {.routes = [shared](const RouteTable& wanted,
                             Phase phase) { return effective_routes(wanted, *shared, phase); },
          .edit = [shared, &engine](PlanEdit& edit) { apply_faults(edit, engine, *shared); }};
}

}  // namespace greta
