#include "judge/harness.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/parallel.h"
#include "judge/observation.h"
#include "judge/seen_operands.h"
#include "numerics/noise.h"

namespace greta {
namespace {

bool is_convicted(const OraclePass& oracle, const PhaseRecord& phase, At at) {
  const JudgedStage* judged = oracle.find(phase.view, at);
  return judged != nullptr && judged->is_convicted();
}

/// Whether `to` follows from what `at` ought to be.
bool follows_from_right(const PhaseRecord& phase, At at, At to, const std::vector<int64_t>& positions) {
  std::string why;
  const auto subject = subject_of(phase, to, positions, &why, at);
  return subject && agrees(*subject);
}

/// A recording that holds something else is wrong in all its rows; a kernel may be in some.
bool is_wrong_everywhere(const PhaseRecord& phase, At at) {
  std::string why;
  auto trial = try_stage(phase, at, &why);
  if (!trial) return false;
  const Observation seen = observe(phase, at, std::move(*trial));
  for (int64_t row = 0; row < seen.rows; ++row) {
    if (!seen.is_affected(row)) return false;
  }
  return true;
}

/// One row tells most that do not, at little cost.
bool follows_from_right(const PhaseRecord& phase, At at, At to) {
  const std::vector<int64_t> all = judged_positions(phase, to);
  return !all.empty() &&
         (info(to.stage).kind == StageKind::cache || follows_from_right(phase, at, to, {all.back()})) &&
         is_wrong_everywhere(phase, at) && follows_from_right(phase, at, to, all);
}

/// Two stages that are convicted, one of them an operand of the other.
struct Suspects {
  const PhaseRecord* phase = nullptr;
  At at, to;
};

/// Equal data are one judgement, and looked at once.
std::vector<Suspects> suspects_of(const std::vector<const PhaseRecord*>& phases, const OraclePass& oracle) {
  std::vector<Suspects> all;
  std::set<std::pair<const JudgedStage*, const JudgedStage*>> known;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [to, event] : phase->view.events()) {
      if (!has_place(phase->model->config, to) || !is_convicted(oracle, *phase, to)) continue;
      for (const At at : operands_at(phase->model->config, to)) {
        const bool counts = !was_read(*phase, to, at) && info(at.stage).kind != StageKind::cache &&
                            at.layer == to.layer && phase->view.find(at) != nullptr &&
                            is_convicted(oracle, *phase, at);
        if (counts && known.emplace(oracle.find(phase->view, at), oracle.find(phase->view, to)).second)
          all.push_back({phase, at, to});
      }
    }
  }
  return all;
}

}  // namespace

std::vector<Flag> withdraw_contradictions(const std::vector<const PhaseRecord*>& phases, OraclePass& oracle,
                                          int threads) {
  const std::vector<Suspects> suspects = suspects_of(phases, oracle);
  std::vector<char> contradict(suspects.size());
  parallel_for(threads, suspects.size(), [&](size_t i) {
    contradict[i] = follows_from_right(*suspects[i].phase, suspects[i].at, suspects[i].to);
  });
  std::vector<Flag> flags;
  for (size_t i = 0; i < suspects.size(); ++i) {
    if (!contradict[i]) continue;
    const auto& [phase, at, to] = suspects[i];
    const std::string why = fmt::format("{} L{}: the {} recorded is not what {} was computed from",
                                        phase->view.phase(), at.layer, name(at.stage), name(to.stage));
    oracle.withdraw(phase->view, at, why);
    oracle.withdraw(phase->view, to, why);
    flags.push_back({FlagKind::harness_suspect, phase->view.cell(), why});
  }
  return flags;
}

void withdraw_over_wrong_gaps(const std::vector<const PhaseRecord*>& phases, OraclePass& oracle) {
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      if (!is_convicted(oracle, *phase, at) || !oracle.find(phase->view, at)->judgement->over_gap) continue;
      std::string why;
      const std::optional<Subject> subject = judged_subject(*phase, at, &why);
      if (!subject) continue;
      for (const Stage stage : subject->gap) {
        if (stage == at.stage || !is_convicted(oracle, *phase, {at.layer, stage})) continue;
        oracle.withdraw(phase->view, at,
                        fmt::format("over a gap that {} has to fill, which is wrong", name(stage)));
        break;
      }
    }
  }
}

std::vector<Flag> right_by_what_was_not_read(const std::vector<const PhaseRecord*>& phases,
                                             const OraclePass& oracle) {
  std::vector<Flag> flags;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      const JudgedStage* judged = oracle.find(phase->view, at);
      if (event->operands.empty() || judged == nullptr || !judged->judgement || judged->is_convicted())
        continue;
      for (const OtherOperand& other : other_operands(*phase, at)) {
        flags.push_back(
            {FlagKind::harness_suspect, phase->view.cell(),
             fmt::format("{} L{}: {} was computed from other rows of {} than were recorded, and is "
                         "right by the recorded ones",
                         phase->view.phase(), at.layer, name(at.stage), name(other.at.stage))});
      }
    }
  }
  return flags;
}

namespace {

/// Of any stage that has a row for each token.
int64_t last_position(const PhaseView& view) {
  int64_t last = -1;
  for (const auto& [at, event] : view.events()) {
    if (info(at.stage).row_per == RowPer::token && !event->positions.empty())
      last = std::max(last, event->positions.back());
  }
  return last;
}

}  // namespace

std::vector<Flag> logits_of_other_rows(const std::vector<const PhaseRecord*>& phases) {
  std::vector<Flag> flags;
  for (const PhaseRecord* phase : phases) {
    const Event* logits = phase->view.find({kNoLayer, Stage::logits});
    if (phase->view.kind() != Phase::prefill || logits == nullptr || logits->positions.empty()) continue;
    const int64_t last = last_position(phase->view), shown = logits->positions.back();
    const bool goes_on = std::ranges::any_of(phases, [&](const PhaseRecord* other) {
      return other->view.cell() == phase->view.cell() && other->view.kind() == Phase::decode &&
             last_position(other->view) == last + 1;
    });
    if (shown >= last || !goes_on) continue;
    flags.push_back(
        {FlagKind::harness_suspect, phase->view.cell(),
         fmt::format("{}: the logits are those of position {}, not of the last token's, {}, though "
                     "a step follows",
                     phase->view.phase(), shown, last)});
  }
  return flags;
}

}  // namespace greta
