// What a matrix unit may do otherwise than its rule says. Too small for any one output: the residual of all
// of them together names it (numerics/unit_bias.h).

#include <fmt/format.h>

#include <array>

#include "judge/hypotheses/hypothesis.h"
#include "units/instruction.h"

namespace greta {
namespace {

/// The declared unit with its rule changed; false where the kernel declares none that truncates or floors.
template <class Change>
bool change_unit(StageProblem& problem, const Change& change) {
  const units::Instruction* declared = problem.declared.roundings.unit;
  if (declared == nullptr || declared->fraction_bits == 0) return false;
  auto unit = std::make_shared<units::Instruction>(*declared);
  change(*unit);
  problem.declared.roundings.unit = unit.get();
  problem.keeps = unit;
  return true;
}

std::vector<Candidate> fewer_bits(const Suspect& s) {
  if (s.kind() != StageKind::projection) return {};
  std::vector<Candidate> candidates;
  for (const int fewer : {1, 2, 3, 4}) {
    const char* plural = fewer == 1 ? "" : "s";
    candidates.push_back(
        {[fewer](const Observation&, StageProblem& problem) {
           return change_unit(problem, [&](units::Instruction& unit) { unit.fraction_bits -= fewer; });
         },
         {fmt::format("the matrix unit's aligned sum keeps {} fractional bit{} fewer than declared", fewer,
                      plural),
          fmt::format(
              "la suma alineada de la unidad matricial conserva {0} bit{1} fraccionario{1} menos de lo "
              "declarado",
              fewer, plural)},
         1});
  }
  return candidates;
}

std::vector<Candidate> to_nearest(const Suspect& s) {
  if (s.kind() != StageKind::projection) return {};
  return {{[](const Observation&, StageProblem& problem) {
             return change_unit(problem, [](units::Instruction& unit) { unit.nearest = true; });
           },
           {"the matrix unit rounds to nearest where its rule truncates or floors",
            "la unidad matricial redondea al más cercano donde su regla trunca o redondea hacia abajo"}}};
}

const std::array<Hypothesis, 2> kUnit{{
    {"accumulator_bits",
     {"a matrix unit aligns its terms with fewer fractional bits than declared",
      "una unidad matricial alinea sus términos con menos bits fraccionarios de lo declarado"},
     "made up: no public report in the catalogue",
     fewer_bits,
     true},
    {"accumulator_rounding",
     {"a matrix unit rounds to nearest instead of truncating or flooring",
      "una unidad matricial redondea al más cercano en vez de truncar o redondear hacia abajo"},
     "made up: no public report in the catalogue",
     to_nearest,
     true},
}};

}  // namespace

std::span<const Hypothesis> unit_hypotheses() { return kUnit; }

}  // namespace greta
