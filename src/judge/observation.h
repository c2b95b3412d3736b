#pragma once
// Wrong rows of one recording of a stage, with what the oracle makes of them.

#include <memory>
#include <optional>
#include <vector>

#include "judge/stage_oracle.h"

namespace greta {

struct Observation {
  const PhaseRecord* phase = nullptr;
  std::shared_ptr<const StageProblem> problem;
  SharedRows observed;  // [rows, width]
  Expected right;       // the problem's solution
  int64_t rows = 0, width = 0;
  int64_t heads = 1;           // slices of a row
  std::vector<char> affected;  // [rows, heads]: some element is beyond its bound
  std::vector<char> inside;    // [width]: the columns that a condition leaves; empty: all
  std::vector<Stage> gap;
  // Errors of a matrix unit's own size: how they are spread tells hypotheses apart, not what each is.
  bool of_unit_size = false;

  int64_t head_width() const { return width / heads; }
  bool is_affected(int64_t row, int64_t head) const {
    return affected[static_cast<size_t>(row * heads + head)] != 0;
  }
  bool is_affected(int64_t row) const;
  /// Whether a hypothesis is asked about element i of a row.
  bool is_inside(int64_t i) const { return inside.empty() || inside[static_cast<size_t>(i)] != 0; }
  /// Element i of [rows, width] lies in an affected row and head, and inside.
  bool in_affected(size_t i) const {
    return affected[i / static_cast<size_t>(head_width())] != 0 && is_inside(static_cast<int64_t>(i) % width);
  }
  /// Element i of [rows, width] is beyond its bound; false where the oracle tells nothing.
  bool is_wrong(size_t i) const;
};

/// All judged rows of a stage.
Observation observe(const PhaseRecord& phase, At at, Trial trial);

/// Some of its rows, at these positions. nullopt when they can't be made alone.
std::optional<Observation> rows_at(const Observation& all, At at, const std::vector<int64_t>& positions);

/// How far an observed element is from an expected one, for sums of squares. Equal and both-NaN are 0; a
/// value that is finite on one side only counts as `gross`.
double element_error(float observed, double value, double gross);

/// A size that no finite error of this observation exceeds by much: what a NaN or an infinity counts as.
double gross_error(const Observation& observation);

}  // namespace greta
