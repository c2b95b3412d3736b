#pragma once
// The whole measurement of the tool's power.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "selftest/power.h"
#include "selftest/power_limit.h"

namespace greta {

struct PowerRequest {
  std::string only;    // faults whose name has this, and neither clean runs nor (unless asked for) stacks
  bool quick = false;  // one fault per class in one phase; few stacks and clean runs
  bool weakest = false;
  std::optional<int> pairs;  // of stacked faults, with half as many triples; empty: 20; 4 if quick
  RouteTable routes;
  /// Makes an engine with other threads and ISA, for the clean runs.
  std::function<std::unique_ptr<Engine>(int threads, Isa isa)> make_engine;
  /// May throw to stop.
  std::function<void(int done, int total, const std::string& label)> step;
};

/// Throws an input Error when no fault has `only` in its name.
PowerResult measure_power(Engine& engine, const PowerRequest& request);

}  // namespace greta
