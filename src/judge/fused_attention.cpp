#include "judge/fused_attention.h"

#include <algorithm>
#include <array>

namespace greta {
namespace {

constexpr std::array kChain = {Stage::qk, Stage::softmax, Stage::pv};

bool is_part(StageKind kind) { return kind == StageKind::scores || kind == StageKind::weights; }

}  // namespace

At carrier_of(const PhaseView& view, At at) {
  for (const Stage stage : kChain) {
    if (at.stage == stage && is_part(info(stage).kind) && !view.records(stage))
      at.stage = *std::next(std::find(kChain.begin(), kChain.end(), stage));
  }
  return at;
}

bool is_fused(const PhaseView& view, At at) {
  const auto it = std::find(kChain.begin(), kChain.end(), at.stage);
  return it != kChain.begin() && it != kChain.end() && !view.records(*std::prev(it));
}

Declared part_of(const Declared& fused, StageKind carrier, StageKind kind) {
  if (kind == carrier && kind != StageKind::mix) return fused;
  const Roundings& whole = fused.roundings;
  Declared part = fused;
  part.roundings = {};
  part.roundings.fast_math = whole.fast_math;
  if (kind == StageKind::scores) {
    part.roundings.activation = whole.activation;
    part.roundings.output = part.roundings.between =
        carrier == StageKind::weights ? whole.between : whole.scores;
  }
  if (kind == StageKind::weights) part.roundings.output = whole.scores;
  if (kind == StageKind::mix) {
    const bool apart =
        whole.scores != Format::f32;  // three kernels: weights are divided before they are rounded
    part.roundings.unnormalised = apart ? Format::f32 : whole.between;
    part.roundings.accumulator = whole.accumulator;
    part.roundings.output = whole.output;
  }
  return part;
}

StageProblem with_arithmetic(const StageProblem& problem,
                             const std::function<Declared(const StageProblem&)>& of) {
  StageProblem changed = problem;
  changed.declared = of(problem);
  changed.declared.sum_lanes = problem.declared.sum_lanes;
  if (problem.kind != StageKind::cache)
    changed.declared.roundings.rotation = problem.declared.roundings.rotation;
  for (Operand& operand : changed.operands) {
    if (operand.made_by == nullptr || !is_part(operand.made_by->kind)) continue;
    operand.made_by = std::make_shared<StageProblem>(with_arithmetic(*operand.made_by, of));
  }
  return changed;
}

StageProblem by_arithmetic(const StageProblem& root, const Declared& declared, bool fused) {
  return with_arithmetic(root, [&](const StageProblem& problem) {
    if (fused) return part_of(declared, root.kind, problem.kind);
    return problem.at == root.at ? declared : problem.declared;
  });
}

}  // namespace greta
