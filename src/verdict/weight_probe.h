#pragma once
// How kernels read their weights: plain data, from which its reports are made.

#include <cstdint>
#include <string>
#include <vector>

#include "model/phase.h"
#include "model/stage.h"

namespace greta {

/// What one projection of one phase multiplies with.
struct WeightProbe {
  Phase phase = Phase::prefill;
  int layer = 0;
  Stage stage = Stage::q;
  /// "row": W as the file has it; "column": element (i, j) of W [n, k] is taken from place j * n + i of the
  /// dequantised row-major buffer; "neither".
  std::string layout;
  /// Worst |output - reading| over the probed columns, relative to the reading's largest magnitude in that
  /// column. Infinite where the output is not finite.
  double error_row = 0, error_column = 0;
  std::string kernel;            // that ran, by its own word
  std::vector<int64_t> columns;  // probed j: the first, the last and a fixed sample
};

}  // namespace greta
