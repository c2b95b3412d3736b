#include "judge/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "base/parallel.h"
#include "judge/hypotheses/explain.h"

namespace greta {
namespace {

using Convictions = std::vector<const Conviction*>;

void plain_title(Finding& finding) {
  const std::string_view phase = name(finding.phase);
  const std::string_view en = finding.phase == Phases::both ? "both phases" : phase;
  const std::string_view es = finding.phase == Phases::both ? "ambas fases" : phase;
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

  std::vector<Finding> findings(const Search& search, int threads) const {
    const Convictions prefill = of_phase(Phase::prefill), decode = of_phase(Phase::decode);
    const auto of = [&](Phases phases, const Convictions& some) {
      return finding(phases, some, search, threads);
    };
    if (decode.empty()) return {of(Phases::prefill, prefill)};
    if (prefill.empty()) return {of(Phases::decode, decode)};
    Finding both = of(Phases::both, convictions_);
    if (both.cause != Cause::unexplained || !causes_) return {std::move(both)};
    Finding in_prefill = of(Phases::prefill, prefill), in_decode = of(Phases::decode, decode);
    if (in_prefill.cause != Cause::named && in_decode.cause != Cause::named) return {std::move(both)};
    return {std::move(in_prefill), std::move(in_decode)};
  }

 private:
  Convictions of_phase(Phase phase) const {
    Convictions some;
    for (const Conviction* conviction : convictions_) {
      if (conviction->in == phase) some.push_back(conviction);
    }
    return some;
  }

  Finding finding(Phases phases, const Convictions& convictions, const Search& search, int threads) const {
    Finding finding;
    finding.phase = phases;
    finding.layer = at_.layer;
    finding.stage = at_.stage;
    std::vector<Witness> witnesses;
    for (const Conviction* conviction : convictions) {
      witnesses.push_back({conviction->phase, conviction->sighting});
      if (std::find(finding.cells.begin(), finding.cells.end(), conviction->cell) == finding.cells.end())
        finding.cells.push_back(conviction->cell);
      double& side =
          conviction->in == Phase::prefill ? finding.noise_ratio_prefill : finding.noise_ratio_decode;
      side = std::max(side, conviction->noise_ratio);
      finding.noise_ratio = std::max(finding.noise_ratio, conviction->noise_ratio);
    }
    plain_title(finding);
    if (!causes_) return finding;
    const Evidence evidence = gather_evidence(witnesses, at_);
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

/// A stage in all its layers. The first and the last are tried with every hypothesis, the others with what
/// explained those, and again while there is something new; what is left then has the same unknown cause.
class StageInLayers {
 public:
  void add(ConvictedStage stage) { layers_.push_back({std::move(stage)}); }

  struct Look {
    size_t layer = 0;
    Search search = {};
  };

  /// What is to be looked at now; empty when all is done.
  std::vector<Look> due(Causes causes) const {
    if (causes != Causes::first) return looks(unexplained(&Layer::in_full), true);
    const std::vector<size_t> fresh = unexplained(&Layer::by_likely);
    const bool begun = std::ranges::any_of(layers_, &Layer::in_full);
    if (begun && !fresh.empty()) return looks(fresh, false);
    const std::vector<size_t> left = unexplained(&Layer::in_full);
    if (left.empty() || (begun && !found_more_)) return {};
    return looks(left.size() == 1 ? left : std::vector{left.front(), left.back()}, true);
  }

  std::vector<Finding> look(const Look& look, int threads) const {
    return layers_[look.layer].stage.findings(look.search, threads);
  }

  void take(std::span<const Look> looks, std::vector<std::vector<Finding>> found) {
    const size_t known = likely_.size();
    for (size_t i = 0; i < looks.size(); ++i) {
      Layer& layer = layers_[looks[i].layer];
      layer.by_likely = true;
      layer.in_full = layer.in_full || looks[i].search.in_full;
      layer.findings = std::move(found[i]);
      for (const Finding& finding : layer.findings) {
        if (finding.cause != Cause::named) continue;
        add_likely(finding.best);
        add_likely(finding.runner_up);
      }
    }
    found_more_ = likely_.size() != known;
    for (Layer& layer : layers_) layer.by_likely = layer.by_likely && (layer.in_full || !found_more_);
  }

  std::vector<Finding> findings() {
    std::vector<Finding> all;
    for (Layer& layer : layers_) std::ranges::move(layer.findings, std::back_inserter(all));
    return all;
  }

 private:
  struct Layer {
    ConvictedStage stage;
    bool by_likely = false, in_full = false;  // tried so
    std::vector<Finding> findings = {};
  };

  std::vector<size_t> unexplained(bool Layer::*tried) const {
    std::vector<size_t> some;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      const bool open = layer.findings.empty() || !is_explained(layer.findings);
      if (open && !(layer.*tried)) some.push_back(i);
    }
    return some;
  }

  std::vector<Look> looks(const std::vector<size_t>& layers, bool in_full) const {
    std::vector<Look> some;
    for (const size_t layer : layers) some.push_back({layer, {likely_, in_full}});
    return some;
  }

  void add_likely(const std::string& hypothesis) {
    if (!hypothesis.empty() && std::find(likely_.begin(), likely_.end(), hypothesis) == likely_.end())
      likely_.push_back(hypothesis);
  }

  std::vector<Layer> layers_;
  bool found_more_ = false;
  std::vector<std::string> likely_;
};

/// One look at all that is due; false when nothing was.
bool look_once(std::map<Stage, StageInLayers>& stages, Causes causes, int threads) {
  struct Task {
    StageInLayers* stage;
    const StageInLayers::Look* look;
    std::vector<Finding>* found;
  };
  std::map<StageInLayers*, std::vector<StageInLayers::Look>> due;
  std::map<StageInLayers*, std::vector<std::vector<Finding>>> found;
  std::vector<Task> tasks;
  for (auto& [stage, layers] : stages) {
    const auto& looks = due[&layers] = layers.due(causes);
    found[&layers].resize(looks.size());
    for (size_t i = 0; i < looks.size(); ++i) tasks.push_back({&layers, &looks[i], &found[&layers][i]});
  }
  const int each = std::max(1, threads / static_cast<int>(std::max<size_t>(1, tasks.size())));
  parallel_for(threads, tasks.size(),
               [&](size_t i) { *tasks[i].found = tasks[i].stage->look(*tasks[i].look, each); });
  for (auto& [stage, looks] : due) {
    if (!looks.empty()) stage->take(looks, std::move(found[stage]));
  }
  return !tasks.empty();
}

}  // namespace

std::vector<Finding> findings_of(const std::vector<Conviction>& convictions, int threads, Causes causes) {
  std::map<At, Convictions> by_place;
  for (const Conviction& conviction : convictions) by_place[conviction.at].push_back(&conviction);
  std::map<Stage, StageInLayers> stages;
  for (const auto& [at, some] : by_place) stages[at.stage].add({at, some, causes != Causes::none});
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
