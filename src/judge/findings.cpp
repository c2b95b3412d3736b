#include "judge/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

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

  /// `likely`: hypotheses that explained this stage in other layers.
  std::vector<Finding> findings(const std::vector<std::string>& likely, int threads) const {
    const Convictions prefill = of_phase(Phase::prefill), decode = of_phase(Phase::decode);
    const auto of = [&](Phases phases, const Convictions& some) {
      return finding(phases, some, likely, threads);
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

  Finding finding(Phases phases, const Convictions& convictions, const std::vector<std::string>& likely,
                  int threads) const {
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
    name_cause(explain(evidence, likely, threads), finding);
    return finding;
  }

  At at_;
  Convictions convictions_;
  bool causes_;
};

/// A stage in all its layers: what explained it in one is tried first in the later ones.
class StageInLayers {
 public:
  void add(ConvictedStage stage) { layers_.push_back(std::move(stage)); }

  /// The layers to be looked at now: the first; once that is done all others, as if none of them added to
  /// what is likely.
  size_t due() const { return done_ == 0 ? 1 : layers_.size() - done_; }

  std::vector<Finding> look(size_t due, int threads) const {
    return layers_[done_ + due].findings(likely_, threads);
  }

  /// Takes what was found in the layers that were due, up to one that adds to what is likely: those after it
  /// are due again.
  void take(std::vector<std::vector<Finding>> found) {
    const size_t known = likely_.size();
    for (std::vector<Finding>& some : found) {
      for (Finding& finding : some) {
        if (finding.cause == Cause::named) {
          add_likely(finding.best);
          add_likely(finding.runner_up);
        }
        findings_.push_back(std::move(finding));
      }
      ++done_;
      if (likely_.size() != known) return;
    }
  }

  std::vector<Finding>& findings() { return findings_; }

 private:
  void add_likely(const std::string& hypothesis) {
    if (!hypothesis.empty() && std::find(likely_.begin(), likely_.end(), hypothesis) == likely_.end())
      likely_.push_back(hypothesis);
  }

  std::vector<ConvictedStage> layers_;
  size_t done_ = 0;
  std::vector<std::string> likely_;
  std::vector<Finding> findings_;
};

/// One look at all that is due; false when nothing was.
bool look_once(std::map<Stage, StageInLayers>& stages, int threads) {
  struct Task {
    StageInLayers* stage;
    size_t due;
    std::vector<Finding> found = {};
  };
  std::vector<Task> tasks;
  for (auto& [stage, layers] : stages) {
    for (size_t due = 0; due < layers.due(); ++due) tasks.push_back({&layers, due});
  }
  const int each = std::max(1, threads / static_cast<int>(std::max<size_t>(1, tasks.size())));
  parallel_for(threads, tasks.size(),
               [&](size_t i) { tasks[i].found = tasks[i].stage->look(tasks[i].due, each); });
  std::map<StageInLayers*, std::vector<std::vector<Finding>>> found;
  for (Task& task : tasks) found[task.stage].push_back(std::move(task.found));
  for (auto& [stage, some] : found) stage->take(std::move(some));
  return !tasks.empty();
}

}  // namespace

std::vector<Finding> findings_of(const std::vector<Conviction>& convictions, int threads, bool causes) {
  std::map<At, Convictions> by_place;
  for (const Conviction& conviction : convictions) by_place[conviction.at].push_back(&conviction);
  std::map<Stage, StageInLayers> stages;
  for (const auto& [at, some] : by_place) stages[at.stage].add({at, some, causes});
  while (look_once(stages, threads)) {
  }
  std::vector<Finding> findings;
  for (auto& [stage, layers] : stages) {
    std::move(layers.findings().begin(), layers.findings().end(), std::back_inserter(findings));
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return At{a.layer, a.stage} < At{b.layer, b.stage};
  });
  return findings;
}

}  // namespace greta
