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

Text told_rounded(const OtherOperand& other, double off) {
  return {fmt::format("{} is rounded to {} by another rule than it declares: off by {:.2g} of its length",
                      name(other.at.stage), name(other.format), off),
          fmt::format("{} se redondea a {} por otra regla que la declarada: se aparta {:.2g} de su longitud",
                      name(other.at.stage), name(other.format), off)};
}

/// The first observation that shows some, by whether all of them are only rounded otherwise.
std::vector<Candidate> candidate_of(const Suspect& s, bool rounded) {
  if (!s.direct) return {};
  for (const Observation& seen : s.evidence.observations) {
    const std::vector<OtherOperand> others = other_operands(*seen.phase, s.at);
    if (others.empty()) continue;
    double off = 0;
    const bool only_rounded = std::ranges::all_of(
        others, [&](const OtherOperand& other) { return is_rounded_otherwise(other, *seen.phase, &off); });
    if (only_rounded != rounded) return {};
    Candidate candidate{put_rows_read,
                        rounded ? told_rounded(others.front(), off) : told(s, others, *seen.phase)};
    candidate.may_be_empty = true;
    candidate.seen = true;
    return {candidate};
  }
  return {};
}

}  // namespace

std::vector<Candidate> operand_read(const Suspect& s) { return candidate_of(s, false); }

std::vector<Candidate> operand_rounded(const Suspect& s) { return candidate_of(s, true); }

}  // namespace greta
