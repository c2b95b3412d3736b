#pragma once
// What a finding rests on: the wrong rows of one stage, from every phase and prompt that shows them, each
// with what the oracle makes of it. More rows tell rival hypotheses apart.

#include <span>
#include <string>
#include <vector>

#include "judge/stage_oracle.h"

namespace greta {

/// Wrong rows of one recording of the stage.
struct Observation {
  const PhaseRecord* phase = nullptr;
  std::shared_ptr<const StageProblem> problem;
  std::vector<float> observed;  // [rows, width]
  Expected right;               // the problem's solution
  int64_t rows = 0, width = 0;
  int64_t heads = 1;           // slices of a row
  std::vector<char> affected;  // [rows, heads]: some element is beyond its bound
  std::vector<Stage> gap;
  // Errors of a matrix unit's own size: how they are spread tells hypotheses apart, not what each is.
  bool of_unit_size = false;

  int64_t head_width() const { return width / heads; }
  bool is_affected(int64_t row, int64_t head) const {
    return affected[static_cast<size_t>(row * heads + head)] != 0;
  }
};

struct Evidence {
  const Model* model = nullptr;
  At at = {};
  std::vector<Observation> observations;  // distinct ones, most telling first
  std::string pattern_en, pattern_es;     // which positions, heads, elements are wrong
};

/// Gathers the wrong rows of a stage from phases that show them: a few rows of each, equal data once.
Evidence gather_evidence(const std::vector<const PhaseRecord*>& phases, At at);

/// How far an observed element is from an expected one, for sums of squares. Equal and both-NaN are 0; a
/// value that is finite on one side only counts as `gross`.
double element_error(float observed, double value, double gross);

/// A size that no finite error of this observation exceeds by much: what a NaN or an infinity counts as.
double gross_error(const Observation& observation);

}  // namespace greta
