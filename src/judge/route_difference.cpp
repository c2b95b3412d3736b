#include "judge/route_difference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace greta {
namespace {

constexpr int kCompared = 12;  // stages whose operands are put through both

}  // namespace

std::vector<KernelArithmetic> kernel_arithmetic(const std::vector<const PhaseRecord*>& phases) {
  using Source = KernelArithmetic::Source;
  std::map<std::tuple<KernelClass, std::string, Source>, KernelArithmetic> all;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      if (!has_place(phase->model->config, at)) continue;
      const KernelClass kernels = kernel_class(*phase->model, phase->view, at);
      const bool inferred = phase->inferred != nullptr && phase->inferred->of_class.contains(kernels) &&
                            !phase->inferred->by_default.contains(event);
      if (kernels.kind == StageKind::cache && !inferred) continue;
      const std::string what = describe(kernel_declares(*phase, at));
      const bool declared = is_declared(phase->view.bundle().manifest, event->kernel);
      const Source source = inferred && is_open(*phase, at) ? Source::inferred
                            : declared                      ? Source::declared
                                                            : Source::by_default;
      KernelClass told = kernels;
      told.last_row = false;  // many rows or one: they are told together where they are alike
      KernelArithmetic& entry = all[{told, what, source}];
      entry.phase = kernels.phase;
      if (kernels.weight) entry.weight_type = name(*kernels.weight);
      entry.what = what;
      entry.source = source;
      if (std::find(entry.stages.begin(), entry.stages.end(), at.stage) == entry.stages.end())
        entry.stages.push_back(at.stage);
    }
  }
  std::vector<KernelArithmetic> list;
  for (auto& [key, entry] : all) list.push_back(std::move(entry));
  return list;
}

namespace {

const PhaseRecord* prefill_of(const std::vector<const PhaseRecord*>& phases, const PhaseRecord& decode) {
  for (const PhaseRecord* phase : phases) {
    const bool prefill = phase->view.kind() == Phase::prefill;
    if (prefill && phase->view.cell() == decode.view.cell()) return phase;
  }
  return nullptr;
}

/// What prefill's arithmetic makes of decode's recorded operands, against decode's own: mean |difference|.
double apart(const std::vector<const PhaseRecord*>& phases, Stage stage) {
  double largest = 0;
  int left = kCompared;
  for (const PhaseRecord* decode : phases) {
    const PhaseRecord* prefill = prefill_of(phases, *decode);
    if (decode->view.kind() != Phase::decode || prefill == nullptr) continue;
    for (const auto& [at, event] : decode->view.events()) {
      if (at.stage != stage || prefill->view.find(at) == nullptr || left == 0) continue;
      std::string why;
      const auto subject = judged_subject(*decode, at, &why);
      if (!subject) continue;
      --left;
      const StageProblem other = with_arithmetic(
          *subject->problem, [&](const StageProblem& part) { return arithmetic_of(*prefill, part.at); });
      const Expected a = expected_of(*subject->problem), b = expected_of(other);
      double sum = 0, count = 0;
      for (size_t i = 0; i < a.value.size(); ++i) {
        if (!std::isfinite(a.value[i]) || !std::isfinite(b.value[i])) continue;
        sum += std::abs(a.value[i] - b.value[i]);
        ++count;
      }
      if (count > 0) largest = std::max(largest, sum / count);
    }
  }
  return largest;
}

}  // namespace

std::vector<RouteDifference> route_differences(const std::vector<KernelArithmetic>& arithmetic,
                                               const std::vector<const PhaseRecord*>& phases,
                                               const std::vector<StagePair>& pairs,
                                               const std::vector<Finding>& findings) {
  std::map<std::tuple<std::string, std::string, std::string>, RouteDifference> all;
  // Where experiments force several arithmetics in one phase, that is what they are for.
  const auto only_of = [&](Phase phase, Stage stage, const std::string& weight_type) {
    const KernelArithmetic* only = nullptr;
    for (const KernelArithmetic& kernels : arithmetic) {
      const bool has = std::find(kernels.stages.begin(), kernels.stages.end(), stage) != kernels.stages.end();
      if (kernels.phase != phase || !has || kernels.weight_type != weight_type) continue;
      if (only != nullptr && only->what != kernels.what) return static_cast<const KernelArithmetic*>(nullptr);
      only = &kernels;
    }
    return only;
  };
  for (const KernelArithmetic& decode : arithmetic) {
    if (decode.phase != Phase::decode) continue;
    for (const Stage stage : decode.stages) {
      if (std::ranges::any_of(findings, [&](const Finding& f) { return f.stage == stage; })) continue;
      const KernelArithmetic* prefill = only_of(Phase::prefill, stage, decode.weight_type);
      if (only_of(Phase::decode, stage, decode.weight_type) == nullptr) continue;
      if (prefill == nullptr || prefill->what == decode.what) continue;
      RouteDifference& entry = all[{decode.weight_type, prefill->what, decode.what}];
      entry.stages.push_back(stage);
      entry.weight_type = decode.weight_type, entry.prefill = prefill->what, entry.decode = decode.what;
      entry.mae = std::max(entry.mae, apart(phases, stage));
      for (const StagePair& pair : pairs) {
        if (pair.stage == stage && pair.status == PairStatus::rounding)
          entry.mae = std::max(entry.mae, pair.metrics.mae);
      }
    }
  }
  std::vector<RouteDifference> list;
  for (auto& [key, entry] : all) list.push_back(std::move(entry));
  return list;
}

}  // namespace greta
