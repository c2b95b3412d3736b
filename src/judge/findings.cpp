#include "judge/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "base/thread_pool.h"
#include "judge/hypotheses/hypothesis.h"

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
class Place {
 public:
  Place(At at, const Convictions& convictions, bool causes)
      : at_(at), convictions_(convictions), causes_(causes) {}

  /// `likely`: hypotheses that explained this stage in other layers.
  std::vector<Finding> findings(const std::vector<std::string>& likely) const {
    const Convictions prefill = of_phase(Phase::prefill), decode = of_phase(Phase::decode);
    if (decode.empty()) return {finding(Phases::prefill, prefill, likely)};
    if (prefill.empty()) return {finding(Phases::decode, decode, likely)};
    Finding both = finding(Phases::both, convictions_, likely);
    if (both.cause != Cause::unexplained || !causes_) return {std::move(both)};
    Finding in_prefill = finding(Phases::prefill, prefill, likely),
            in_decode = finding(Phases::decode, decode, likely);
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

  Finding finding(Phases phase, const Convictions& convictions,
                  const std::vector<std::string>& likely) const {
    Finding finding;
    finding.phase = phase;
    finding.layer = at_.layer;
    finding.stage = at_.stage;
    std::vector<const PhaseRecord*> phases;
    for (const Conviction* conviction : convictions) {
      phases.push_back(conviction->phase);
      if (std::find(finding.cells.begin(), finding.cells.end(), conviction->cell) == finding.cells.end())
        finding.cells.push_back(conviction->cell);
      double& side =
          conviction->in == Phase::prefill ? finding.noise_ratio_prefill : finding.noise_ratio_decode;
      side = std::max(side, conviction->noise_ratio);
      finding.noise_ratio = std::max(finding.noise_ratio, conviction->noise_ratio);
    }
    plain_title(finding);
    if (!causes_) return finding;
    const Evidence evidence = gather_evidence(phases, at_);
    finding.pattern = {evidence.pattern_en, evidence.pattern_es};
    if (!evidence.observations.empty()) finding.gap = evidence.observations.front().gap;
    name_cause(explain(evidence, likely), finding);
    return finding;
  }

  At at_;
  Convictions convictions_;
  bool causes_;
};

/// The stage in all layers, one after the other: what explained it once is tried first in the next.
std::vector<Finding> findings_of_stage(const std::vector<Place>& places) {
  std::vector<Finding> findings;
  std::vector<std::string> likely;
  for (const Place& place : places) {
    for (Finding& finding : place.findings(likely)) {
      if (finding.cause == Cause::named) {
        for (const std::string& name : {finding.best, finding.runner_up}) {
          if (!name.empty() && std::find(likely.begin(), likely.end(), name) == likely.end())
            likely.push_back(name);
        }
      }
      findings.push_back(std::move(finding));
    }
  }
  return findings;
}

}  // namespace

std::vector<Finding> find_causes(const std::vector<Conviction>& convictions, int threads, bool causes) {
  std::map<At, Convictions> by_place;
  for (const Conviction& conviction : convictions)
    by_place[{conviction.layer, conviction.stage}].push_back(&conviction);
  std::map<Stage, std::vector<Place>> by_stage;
  for (const auto& [at, some] : by_place) by_stage[at.stage].emplace_back(at, some, causes);

  std::vector<const std::vector<Place>*> work;
  for (const auto& [stage, places] : by_stage) work.push_back(&places);
  std::vector<std::vector<Finding>> found(work.size());
  std::atomic<size_t> next{0};
  ThreadPool pool(threads);
  pool.run([&](Part) {
    for (size_t i = next.fetch_add(1); i < work.size(); i = next.fetch_add(1))
      found[i] = findings_of_stage(*work[i]);
  });
  std::vector<Finding> findings;
  for (std::vector<Finding>& some : found) std::move(some.begin(), some.end(), std::back_inserter(findings));
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return At{a.layer, a.stage} < At{b.layer, b.stage};
  });
  return findings;
}

}  // namespace greta
