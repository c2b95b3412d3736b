#include "judge/hypotheses/read_operand.h"

#include <fmt/format.h>

#include <algorithm>

#include "judge/seen_operands.h"

namespace greta {
namespace {

/// The operand's rows at these positions, as they were read; nullopt where one was not.
std::optional<SharedRows> rows_read(const OtherOperand& other, const std::vector<int64_t>& positions) {
  if (positions == other.positions || info(other.at.stage).row_per == RowPer::cache) return other.rows;
  const size_t width = other.rows.size() / other.positions.size();
  std::vector<float> rows;
  for (const int64_t position : positions) {
    const auto it = std::ranges::find(other.positions, position);
    if (it == other.positions.end()) return std::nullopt;
    const float* row = other.rows.begin() + static_cast<size_t>(it - other.positions.begin()) * width;
    rows.insert(rows.end(), row, row + width);
  }
  return SharedRows(std::move(rows));
}

bool put_rows_read(const Observation& seen, StageProblem& problem) {
  const std::vector<OtherOperand> others = other_operands(*seen.phase, problem.at);
  for (const OtherOperand& other : others) {
    std::optional<SharedRows> rows = rows_read(other, problem.positions);
    if (!rows) return false;
    problem.operands[other.index] = {std::move(*rows), nullptr};
    if (other.format != Format::f32) problem.declared.roundings.activation = Format::f32;  // rounded already
  }
  return !others.empty();
}

Text told(const Suspect& s, const std::vector<OtherOperand>& others, const PhaseRecord& phase) {
  Text text{fmt::format("{} read other rows than were recorded for it:", s.name()),
            fmt::format("{} leyó otras filas que las grabadas para ella:", s.name())};
  for (const OtherOperand& other : others) {
    const Text what = what_was_read(other, phase);
    const bool rounded = other.format != Format::f32;
    const std::string form = rounded ? fmt::format(" (in {})", name(other.format)) : "";
    text.en += fmt::format(" {} in the place of {}{},", what.en, name(other.at.stage), form);
    text.es += fmt::format(" {} en lugar de {}{},", what.es, name(other.at.stage), form);
  }
  text.en.pop_back();
  text.es.pop_back();
  return text;
}

}  // namespace

std::vector<Candidate> operand_read(const Suspect& s) {
  if (!s.direct) return {};
  for (const Observation& seen : s.evidence.observations) {
    const std::vector<OtherOperand> others = other_operands(*seen.phase, s.at);
    if (others.empty()) continue;
    Candidate candidate{put_rows_read, told(s, others, *seen.phase)};
    candidate.may_be_empty = true;
    candidate.seen = true;
    return {candidate};
  }
  return {};
}

}  // namespace greta
