#pragma once
// Which factors of the experiment matrix the first fault depends on: main effects of route, shape and prompt,
// and whether route and prompt interact.
// Measured only on pairs of attested cells that differ in the factor alone.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "verdict/verdict.h"

namespace greta::report {

/// A change that counts as none: routes round differently, and rounding moves a fault's MAE a little.
inline constexpr double kNoEffect = 0.05;

struct Effect {
  double mae = 0;  // max |a - b| / max(a, b) of the MAE
  /// The same of the fault itself: 1 where only one of the two cells shows it; else the MAE or the faulty
  /// phase's noise ratio, whichever moved less, since rounding and its bound may move either.
  double fault = 0;
  bool sized = true;    // `fault` measures a size; else only whether it shows (the bound is 0, the ratio inf)
  bool splits = false;  // of some pair of cells only one shows the fault
  std::vector<std::string> shows_with, not_with;  // values of the factor, when they tell the cells apart
};

struct Effects {
  bool of_fault = false;   // measured at the first finding; else of the table's Q
  bool has_mae = true;     // false of a fault in both phases: the two agree, however wrong
  Stage stage = Stage::q;  // whose MAE
  int layer = kNoLayer;
  std::optional<Effect> route, gemm, prompt;  // empty: no two cells to tell it from
  std::optional<double> interaction;  // how far the route's effect on the fault differs between prompts
};

Effects effects_of(const Verdict& verdict);

/// Appends what is not there yet.
template <class T>
void add_unique(std::vector<T>& words, const T& word) {
  if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
}

}  // namespace greta::report
