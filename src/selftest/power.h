#pragma once
// The tool's own power, measured: faults are put in one by one and several at a time, and what the diagnosis
// says is held against what was done.

#include <functional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "fault/fault.h"
#include "record/matrix.h"
#include "verdict/power.h"
#include "verdict/verdict.h"

namespace greta {

/// What `verdict`, of a run with `spec` and others, says of `spec`. `others` counts all findings that are not
/// at its place in its phase.
Detection held_against(const FaultSpec& spec, const Verdict& verdict);

class PowerTest {
 public:
  /// All runs use `prompts`, `routes` and E0, and judge with the engine's number of threads. Runs once,
  /// clean.
  PowerTest(Engine& engine, std::vector<Prompt> prompts, RouteTable routes = {});

  /// Throws an input Error where the model can't have the fault at its layer.
  Detection single(const FaultSpec& spec) const;
  /// A fault that acts on routes: E1 and E2 with it, and INERT_FACTOR as the right answer.
  Detection ignored_routes(const FaultSpec& spec) const;
  /// Interventions follow only where the judgement alone does not list all.
  StackedDetection stacked(const std::vector<FaultSpec>& specs) const;

 private:
  MatrixRequest request(const std::vector<FaultSpec>& specs, const std::string& experiments) const;

  Engine& engine_;
  std::vector<Prompt> prompts_;
  RouteTable routes_;
  Bundle clean_;
};

/// No fault, E0, one prompt. `route` is a label for `routes`.
CleanRun clean_run(Engine& engine, const Prompt& prompt, const std::string& route,
                   const RouteTable& routes);

}  // namespace greta
