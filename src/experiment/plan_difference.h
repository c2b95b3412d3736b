#pragma once
// Why the program that runs where nobody looks is not the one that is recorded: fused ops put back one
// after the other, meetings of the threads added, until the difference goes.

#include <functional>
#include <vector>

#include "experiment/program.h"
#include "experiment/run_cause.h"
#include "verdict/verdict.h"

namespace greta {

/// One run, of production's plans or of others.
struct PlanTrial {
  Phase phase = Phase::prefill;
  std::function<Snapshot(const Making& making, bool used)> run = {};  // used: as of a Way
  Snapshot recorded = {};  // what the program as it is recorded computed, and what was judged
  Deviation first = {};    // of production's
};

/// At least one finding; they have no cells. `step` may throw to stop.
std::vector<Finding> why_plan_differs(const Program& program, const PlanTrial& trial,
                                      const std::function<void(const std::string& label)>& step);

/// A finding of runs that differ: where the first difference points to. Of a cache it is the stage that
/// filled it.
Finding difference_finding(Phases phase, const Deviation& first, RunCause cause, Text title,
                           std::vector<Text> told);

/// Of a run that lost count of the positions.
Finding lost_finding(const Deviation& lost, Phases phase);

/// "first difference at layer 3, position 12, key[17] (129 tokens): 0.25, expected 0.5".
Text told_first(const Deviation& first);

}  // namespace greta
