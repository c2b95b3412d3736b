#pragma once
// What becomes of runs on tokens of its own: some are recorded and judged as a matter of course, those that
// differ are, where they differ. Internal to this room.

#include <set>
#include <string>
#include <vector>

#include "experiment/own_recording.h"
#include "experiment/own_tokens.h"
#include "experiment/plan_difference.h"

namespace greta {

inline constexpr const char* kOwnPrompt = "own_tokens";

/// Two ways to run the tokens that left other bits.
struct OwnDifference {
  Phase phase = Phase::prefill;  // of the run that differs from what was expected
  Way way = {};
  Way other = {};  // what it was held against
  Deviation first = {};
};

/// Records the rows that differ, in both ways, in the layers where the difference begins, and judges them.
/// Where nothing is convicted: whether production's plans are to blame; else a finding that says how they
/// differ. `how`: what was held against what.
std::vector<Finding> explain_difference(const Program& program, const OwnTokensRequest& request,
                                        std::span<const int32_t> tokens, const OwnDifference& difference,
                                        const Snapshot& expected, const Snapshot& observed, const Text& how);

struct JudgedRuns {
  std::vector<Finding> differences = {};
  int64_t judged = 0, positions = 0;
  std::vector<int64_t> steps = {};
  std::set<std::string> kernels = {};
  std::set<int64_t> windows = {};
  std::set<Format> caches = {};
};

/// Steps on both sides of edges, an inner block of prefill, other formats of the cache, the edges of windows:
/// recorded in a few layers that are drawn, and judged. `runner` holds `tokens`, which ran at once and left
/// `at_once`; it is used up.
JudgedRuns judge_own_runs(const Program& program, const OwnTokensRequest& request,
                          std::span<const int32_t> tokens, Runner& runner, const Snapshot& at_once);

}  // namespace greta
