#include "judge/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <span>

#include "base/parallel.h"
#include "judge/hypotheses/explain.h"

namespace greta {
namespace {

using Convictions = std::vector<const Conviction*>;

void plain_title(Finding& finding) {
  const std::string_view phase = name(finding.phase);
  const std::string_view en = finding.phase == Phases::both ? "both phases" : phase;
  const std::string es = finding.phase == Phases::both ? "ambas fases" : "el " + std::string(phase);
  const std::string at_en = finding.layer == kNoLayer ? "" : fmt::format(" of layer {}", finding.layer);
  const std::string at_es = finding.layer == kNoLayer ? "" : fmt::format(" de la capa {}", finding.layer);
  finding.title.en =
      fmt::format("{}{} is wrong in {}: not explained by rounding", name(finding.stage), at_en, en);
  finding.title.es =
      fmt::format("{}{} es incorrecto en {}: el redondeo no lo explica", name(finding.stage), at_es, es);
}

/// One place: a stage of a layer, with all that convicts it.
class ConvictedStage {
 public:
  ConvictedStage(At at, const Convictions& convictions, bool causes)
      : at_(at), convictions_(convictions), causes_(causes) {}

  /// `other`: the stage in another layer, which must agree about numbers that one row can't tell; or none.
  std::vector<Finding> findings(const Search& search, const ConvictedStage* other, int threads) const {
    const Convictions prefill = of_phase(Phase::prefill), decode = of_phase(Phase::decode);
    const auto of = [&](Phases phases, const Convictions& some) {
      Search own = search;
      if (other != nullptr) own.elsewhere = [=] { return other->evidence(phases); };
      return finding(phases, some, own, threads);
    };
    if (decode.empty()) return {of(Phases::prefill, prefill)};
    if (prefill.empty()) return {of(Phases::decode, decode)};
    Finding both = of(Phases::both, convictions_);
    if (both.cause != Cause::unexplained || !causes_) return {std::move(both)};
    Finding in_prefill = of(Phases::prefill, prefill), in_decode = of(Phases::decode, decode);
    if (in_prefill.cause != Cause::named && in_decode.cause != Cause::named) return {std::move(both)};
    return {std::move(in_prefill), std::move(in_decode)};
  }

  /// Most of what a look takes are passes over the weight, if there is one: its bytes.
  size_t work() const {
    const Tensor* weight = weight_of(*convictions_.front()->phase->model, {at_.stage, at_.layer});
    return weight == nullptr ? 0 : weight->data.size();
  }

 private:
  Convictions of_phase(Phase phase) const {
    Convictions some;
    for (const Conviction* conviction : convictions_) {
      if (conviction->in == phase) some.push_back(conviction);
    }
    return some;
  }

  Evidence evidence(Phases phases) const {
    if (phases == Phases::both) return gather_evidence(witnesses_of(convictions_), at_);
    const Phase phase = phases == Phases::prefill ? Phase::prefill : Phase::decode;
    return gather_evidence(witnesses_of(of_phase(phase)), at_);
  }

  static std::vector<Witness> witnesses_of(const Convictions& convictions) {
    std::vector<Witness> witnesses;
    for (const Conviction* conviction : convictions)
      witnesses.push_back({conviction->phase, conviction->sighting});
    return witnesses;
  }

  Finding finding(Phases phases, const Convictions& convictions, const Search& search, int threads) const {
    Finding finding;
    finding.phase = phases;
    finding.layer = at_.layer;
    finding.stage = at_.stage;
    std::set<std::string> kernels;
    for (const Conviction* conviction : convictions) {
      if (std::find(finding.cells.begin(), finding.cells.end(), conviction->cell) == finding.cells.end())
        finding.cells.push_back(conviction->cell);
      double& side =
          conviction->in == Phase::prefill ? finding.noise_ratio_prefill : finding.noise_ratio_decode;
      side = std::max(side, conviction->noise_ratio);
      finding.noise_ratio = std::max(finding.noise_ratio, conviction->noise_ratio);
      kernels.insert(conviction->phase->view.find(at_)->kernel);
    }
    finding.kernels.assign(kernels.begin(), kernels.end());
    plain_title(finding);
    if (!causes_) return finding;
    const Evidence evidence = gather_evidence(witnesses_of(convictions), at_);
    finding.pattern = evidence.pattern;
    if (!evidence.observations.empty()) finding.gap = evidence.observations.front().gap;
    name_cause(explain(evidence, search, threads), finding);
    finding.sought = search.in_full || finding.cause != Cause::unexplained;
    return finding;
  }

  At at_;
  Convictions convictions_;
  bool causes_;
};

bool is_explained(const std::vector<Finding>& findings) {
  return std::ranges::all_of(findings, [](const Finding& f) { return f.cause != Cause::unexplained; });
}

/// Hypotheses that explained a stage: stages of one kind may be the work of one kernel.
class Likely {
 public:
  void add(const Finding& finding) {
    if (finding.cause == Cause::unexplained) return;
    add(finding.best);
    if (finding.cause == Cause::ambiguous) add(finding.runner_up);
    const std::string& by = finding.by_arithmetic;
    if (!by.empty() && std::ranges::find(arithmetic_, by) == arithmetic_.end()) arithmetic_.push_back(by);
  }
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& arithmetic() const { return arithmetic_; }

 private:
  void add(const std::string& name) {
    if (std::ranges::find(names_, name) == names_.end()) names_.push_back(name);
  }

  std::vector<std::string> names_, arithmetic_;
};

/// A stage in all its layers. The first and the last are tried with every hypothesis, the others with what is
/// likely, and again while there is something new; what is left then has the same unknown cause.
class StageInLayers {
 public:
  explicit StageInLayers(Likely* likely) : likely_(likely) {}

  void add(ConvictedStage stage) { layers_.push_back({std::move(stage)}); }

  struct Look {
    size_t layer = 0;
    Search search = {};
    const ConvictedStage* other = nullptr;  // of another layer; or none
  };

  /// What is to be looked at now; empty when all is done.
  std::vector<Look> due(Causes causes) const {
    if (const std::vector<size_t> zeros = zeros_with_news(); !zeros.empty()) return looks(zeros, false);
    if (causes != Causes::first) {
      return looks(unexplained([](const Layer& layer) { return !layer.in_full; }), true);
    }
    const bool begun = std::ranges::any_of(layers_, &Layer::in_full);
    const std::vector<size_t> fresh = unexplained([&](const Layer& layer) {
      return !layer.in_full && (layer.findings.empty() || layer.tried < likely_->names().size());
    });
    if (begun && !fresh.empty()) return looks(fresh, false);
    const std::vector<size_t> left = unexplained([](const Layer& layer) { return !layer.in_full; });
    if (left.empty() || (begun && !found_more_)) return {};
    return looks(left.size() == 1 ? left : std::vector{left.front(), left.back()}, true);
  }

  size_t work_of(const Look& look) const { return layers_[look.layer].stage.work(); }

  std::vector<Finding> look(const Look& look, int threads) const {
    return layers_[look.layer].stage.findings(look.search, look.other, threads);
  }

  void take(std::span<const Look> looks, std::vector<std::vector<Finding>> found) {
    const size_t known = likely_->names().size();
    for (size_t i = 0; i < looks.size(); ++i) {
      Layer& layer = layers_[looks[i].layer];
      layer.tried = looks[i].search.likely.size();
      layer.in_full = layer.in_full || looks[i].search.in_full;
      layer.findings = std::move(found[i]);
      for (const Finding& finding : layer.findings) likely_->add(finding);
    }
    found_more_ = likely_->names().size() != known;
  }

  std::vector<Finding> findings() {
    std::vector<Finding> all;
    for (Layer& layer : layers_) std::ranges::move(layer.findings, std::back_inserter(all));
    return all;
  }

 private:
  struct Layer {
    ConvictedStage stage;
    size_t tried = 0;      // likely hypotheses
    bool in_full = false;  // tried with every one
    std::vector<Finding> findings = {};
  };

  std::vector<size_t> unexplained(const std::function<bool(const Layer&)>& which) const {
    std::vector<size_t> some;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      const bool open = layer.findings.empty() || !is_explained(layer.findings);
      if (open && which(layer)) some.push_back(i);
    }
    return some;
  }

  /// Zeros are nothing more as soon as what explains other stages makes zeros, too.
  std::vector<size_t> zeros_with_news() const {
    std::vector<size_t> some;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const bool zero = std::ranges::any_of(layers_[i].findings, [](const Finding& f) {
        return f.cause == Cause::named && f.best == "output_zero";
      });
      if (zero && layers_[i].tried < likely_->names().size()) some.push_back(i);
    }
    return some;
  }

  std::vector<Look> looks(const std::vector<size_t>& layers, bool in_full) const {
    std::vector<Look> some;
    for (const size_t layer : layers) {
      const Layer& other = layer == 0 ? layers_.back() : layers_.front();
      some.push_back({layer,
                      {likely_->names(), in_full, likely_->arithmetic()},
                      layers_.size() > 1 ? &other.stage : nullptr});
    }
    return some;
  }

  Likely* likely_;
  std::vector<Layer> layers_;
  bool found_more_ = false;
};

/// One look at all that is due; false when nothing was.
bool look_once(std::map<Stage, StageInLayers>& stages, Causes causes, int threads) {
  struct Task {
    StageInLayers* stage;
    const StageInLayers::Look* look;
    std::vector<Finding>* found;
    size_t work = stage->work_of(*look);
  };
  std::map<StageInLayers*, std::vector<StageInLayers::Look>> due;
  std::map<StageInLayers*, std::vector<std::vector<Finding>>> found;
  std::vector<Task> tasks;
  for (auto& [stage, layers] : stages) {
    const auto& looks = due[&layers] = layers.due(causes);
    found[&layers].resize(looks.size());
    for (size_t i = 0; i < looks.size(); ++i) tasks.push_back({&layers, &looks[i], &found[&layers][i]});
  }
  // The longest first; and by all threads, while one thread alone would be left with it.
  std::ranges::stable_sort(tasks, std::greater{}, &Task::work);
  size_t left = 0, alone = 0;
  for (const Task& task : tasks) left += task.work;
  const auto look = [&](const Task& task, int team) { *task.found = task.stage->look(*task.look, team); };
  const size_t all = static_cast<size_t>(threads);
  for (; alone < tasks.size() && (tasks.size() - alone < all || tasks[alone].work * all > left); ++alone) {
    left -= tasks[alone].work;
    look(tasks[alone], threads);
  }
  parallel_for(threads, tasks.size() - alone, [&](size_t i) { look(tasks[alone + i], 1); });
  for (auto& [stage, looks] : due) {
    if (!looks.empty()) stage->take(looks, std::move(found[stage]));
  }
  return !tasks.empty();
}

}  // namespace

std::vector<Finding> findings_of(const std::vector<Conviction>& convictions, int threads, Causes causes) {
  std::map<At, Convictions> by_place;
  for (const Conviction& conviction : convictions) by_place[conviction.at].push_back(&conviction);
  std::map<StageKind, Likely> likely;
  std::map<Stage, StageInLayers> stages;
  for (const auto& [at, some] : by_place) {
    const auto [stage, fresh] = stages.try_emplace(at.stage, &likely[info(at.stage).kind]);
    stage->second.add({at, some, causes != Causes::none});
  }
  while (look_once(stages, causes, threads)) {
  }
  std::vector<Finding> findings;
  for (auto& [stage, layers] : stages) std::ranges::move(layers.findings(), std::back_inserter(findings));
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return At{a.layer, a.stage} < At{b.layer, b.stage};
  });
  return findings;
}

}  // namespace greta
