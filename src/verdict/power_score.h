#pragma once
// What a measurement of the tool's power amounts to: per class, and in totals that have a threshold each.

#include <optional>
#include <string>
#include <vector>

#include "verdict/power.h"

namespace greta {

/// The runs of one class of faults that changed something.
struct ClassScore {
  std::string fault_class;
  bool has_name = false;  // some hypothesis is expected; else "unexplained" is what is right
  int runs = 0, found = 0, right_phase = 0, right_place = 0;
  int named = 0;  // rightly; "unexplained" where that is right
  int among = 0, wrong = 0;
  std::optional<double> least_explained = {};  // of those rightly named after a hypothesis
  double median_seconds = 0;
};

/// In the order of the faults.
std::vector<ClassScore> score_classes(const std::vector<Detection>& singles);

/// `good` of `of`, and how many it must be.
struct Total {
  std::string what;
  int good = 0, of = 0;
  double required = 100;      // percent; of a total that must be zero, 0
  bool must_be_zero = false;  // `good` counts what must not be
  bool holds() const;
  double percent() const { return of == 0 ? 0 : 100.0 * good / of; }
};

/// Only those that something was run for.
std::vector<Total> totals_of(const PowerResult& result);

bool all_hold(const std::vector<Total>& totals);

/// Everything else that was not as it should be, or not counted, one line each: "FAULT: what was said".
std::vector<std::string> misses_of(const PowerResult& result);

}  // namespace greta
