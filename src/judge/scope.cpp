#include "judge/scope.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "judge/factors.h"
#include "verdict/same_cause.h"

namespace greta {
namespace {

/// The cause of what is wrong at a place.
class CauseAt {
 public:
  CauseAt(const std::vector<Finding>& findings, const std::vector<std::vector<size_t>>& causes) {
    for (size_t cause = 0; cause < causes.size(); ++cause) {
      for (const size_t i : causes[cause]) {
        for (const Phase phase : {Phase::prefill, Phase::decode}) {
          if (concerns(findings[i].phase, phase))
            causes_.emplace(std::pair(phase, At{findings[i].layer, findings[i].stage}),
                            static_cast<int>(cause));
        }
      }
    }
  }

  /// A prefill of one row may be a finding of decode's: the other phase's cause then.
  std::optional<int> of(Phase phase, At at) const {
    const Phase other = phase == Phase::prefill ? Phase::decode : Phase::prefill;
    for (const Phase one : {phase, other}) {
      if (const auto found = causes_.find({one, at}); found != causes_.end()) return found->second;
    }
    return std::nullopt;
  }

 private:
  std::map<std::pair<Phase, At>, int> causes_;
};

std::vector<std::string> attributes_of(const PhaseRecord& phase, At at, const Event& event) {
  const Tensor* weight = weight_of(*phase.model, {at.stage, at.layer});
  const auto shape = [&] { return fmt::format("{} x {}", weight->dims[1], weight->dims[0]); };
  return {event.kernel,
          weight == nullptr ? "" : std::string(name(weight->type)),
          event.route,
          is_one_row(phase) ? "1" : "> 1",
          std::string(name(phase.view.kind())),
          std::string(name(at.stage)),
          weight == nullptr ? "" : shape(),
          std::to_string(at.layer),
          std::to_string(phase.tokens.size()),
          event.prompt_id,
          event.experiment};
}

/// All that was judged and not taken back; what is wrong by the number of its cause.
Trials trials_of(const std::vector<const PhaseRecord*>& phases, const OraclePass& oracle,
                 const CauseAt& causes) {
  Trials trials({{"kernel"},
                 {"weight type"},
                 {"route"},
                 {"S"},
                 {"phase"},
                 {"stage"},
                 {"weight's shape"},
                 {"layer", true},
                 {"tokens", true},
                 {"prompt"},
                 {"experiment"}});
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      const JudgedStage& judged = *oracle.find(phase->view, at);
      if (!judged.judgement) continue;
      const std::optional<int> cause =
          judged.is_convicted() ? causes.of(phase->view.kind(), at) : Trials::kRight;
      if (cause) trials.add(at.stage, attributes_of(*phase, at, *event), *cause);
    }
  }
  return trials;
}

}  // namespace

void add_scopes(const std::vector<const PhaseRecord*>& phases, const OraclePass& oracle, Verdict& verdict) {
  const std::vector<std::vector<size_t>> causes = by_cause(verdict.findings);
  const Trials trials = trials_of(phases, oracle, CauseAt(verdict.findings, causes));
  verdict.factors = trials.factors();
  for (size_t cause = 0; cause < causes.size(); ++cause) {
    for (const Factor& factor : trials.factors(static_cast<int>(cause))) {
      for (const size_t i : causes[cause]) {
        Finding& finding = verdict.findings[i];
        if (std::ranges::find(factor.stages, finding.stage) != factor.stages.end()) finding.scope = factor;
      }
    }
  }
}

}  // namespace greta
