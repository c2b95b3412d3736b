#include "judge/undeclared.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace greta {
namespace {

constexpr double kMostOff = 0.1;  // int8 and 8-bit floats are off by a few hundredths
constexpr int64_t kFewest = 4;    // stages: fewer do not show a kind

/// A kernel class, whatever the phase.
KernelClass kind_of(const PhaseRecord& phase, At at) {
  KernelClass kind = kernel_class(*phase.model, phase.view, at);
  kind.phase = Phase::prefill;
  kind.last_row = false;
  kind.route.clear();
  return kind;
}

bool is_unknown(const PhaseRecord& phase, At at) {
  if (is_declared(phase.view.bundle().manifest, phase.view.find(at)->kernel)) return false;
  const KernelClass own = kernel_class(*phase.model, phase.view, at);
  return info(at.stage).kind != StageKind::cache &&
         (phase.inferred == nullptr || !phase.inferred->of_class.contains(own));
}

/// |observed - right| / |right|, both as vectors; infinite without evidence.
double relative_error(const Sighting* sighting) {
  if (sighting == nullptr) return INFINITY;
  const Observation& seen = sighting->telling;
  double off = 0, size = 0;
  for (size_t i = 0; i < seen.observed.size(); ++i) {
    const double right = seen.right.value[i];
    const bool masked = std::isinf(right) && static_cast<double>(seen.observed[i]) == right;
    if (masked || !seen.right.tells(i)) continue;
    off += std::pow(static_cast<double>(seen.observed[i]) - right, 2);
    size += right * right;
  }
  return size > 0 ? std::sqrt(off / size) : INFINITY;
}

/// An arithmetic touches all elements of a row; a tail or a head that is wrong alone is something else.
bool is_spread(const Sighting* sighting) {
  if (sighting == nullptr) return false;
  const Observation& seen = sighting->telling;
  const size_t width = static_cast<size_t>(seen.width);
  int64_t wrong = 0, all = 0;
  for (size_t i = 0; i < seen.observed.size(); ++i) {
    if (!seen.is_affected(static_cast<int64_t>(i / width)) || !seen.right.tells(i)) continue;
    ++all;
    wrong += seen.is_wrong(i);
  }
  return 2 * wrong >= all;
}

struct Tally {
  int64_t judged = 0, convicted = 0;
  bool open = true, small = true, spread = true, unexplained = true;
  std::set<Phase> phases = {};

  bool is_undeclared() const {
    return open && small && spread && unexplained && judged >= kFewest && convicted == judged &&
           phases.size() == 2;
  }
};

}  // namespace

std::vector<Flag> withdraw_undeclared(const std::vector<const PhaseRecord*>& phases,
                                      const std::vector<Conviction>& convictions,
                                      std::vector<Finding>& findings, OraclePass& oracle) {
  std::map<KernelClass, Tally> tallies;
  std::map<At, KernelClass> kinds;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      const JudgedStage* judged = oracle.find(phase->view, at);
      if (judged == nullptr || !judged->judgement) continue;
      const KernelClass kind = kinds[at] = kind_of(*phase, at);
      Tally& tally = tallies[kind];
      ++tally.judged;
      tally.convicted += judged->is_convicted();
      tally.open = tally.open && is_unknown(*phase, at);
      tally.phases.insert(phase->view.kind());
    }
  }
  for (const Conviction& conviction : convictions) {
    Tally& tally = tallies[kinds[conviction.at]];
    tally.small = tally.small && relative_error(conviction.sighting) <= kMostOff;
    tally.spread = tally.spread && is_spread(conviction.sighting);
  }
  for (const Finding& finding : findings) {
    Tally& tally = tallies[kinds[{finding.layer, finding.stage}]];
    tally.unexplained = tally.unexplained && finding.cause == Cause::unexplained;
  }
  const auto is_undeclared = [&](At at) { return tallies[kinds[at]].is_undeclared(); };
  std::vector<Flag> flags;
  std::set<KernelClass> told;
  for (const Conviction& conviction : convictions) {
    if (!is_undeclared(conviction.at)) continue;
    const KernelClass& kind = kinds[conviction.at];
    const std::string of = kind.weight ? fmt::format(" (weights {})", name(*kind.weight)) : "";
    const std::string why = fmt::format(
        "{}{}: off alike in both phases and all layers, by an arithmetic that its kernels do not declare",
        name(conviction.at.stage), of);
    if (told.insert(kind).second) flags.push_back({FlagKind::undeclared_arithmetic, conviction.cell, why});
    oracle.withdraw(conviction.phase->view, conviction.at, why);
  }
  std::erase_if(findings, [&](const Finding& f) { return is_undeclared({f.layer, f.stage}); });
  return flags;
}

}  // namespace greta
