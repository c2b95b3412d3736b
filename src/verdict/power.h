#pragma once
// What a measurement of the tool's own power found: plain data, from which its tables are made.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

/// What a finding says against what was done.
enum class Naming {
  right,        // the expected hypothesis; "unexplained" where there is none
  among,        // "ambiguous", the right one among the rivals
  unexplained,  // no name, though there is a hypothesis; or nothing found at the place
  wrong,        // another name, alone or among rivals that are all wrong: the worst result
};

std::string_view name(Naming naming);  // "right", "ambiguous", "unexplained", "wrong"

/// One injected fault and what the diagnosis made of it.
struct Detection {
  std::string fault;  // as --inject takes it
  std::string fault_class;
  std::string expected;      // hypothesis (of a fault of routes, the flag); "" when there is none
  bool acts = false;         // the recorded values differ from a clean run's: only then can it be found
  bool found = false;        // some finding
  bool right_place = false;  // a finding of its layer and stage
  bool right_phase = false;  // and that finding names its phase
  Naming naming = Naming::unexplained;
  std::string named;  // what the finding at its place says; "" without one
  std::string title;
  int others = 0;  // findings elsewhere: false alarms
  double explained_residual = 0, noise_ratio = 0;
  double seconds = 0;
};

/// A run of several faults at once: one Detection for each.
struct StackedDetection {
  std::vector<Detection> faults;
  int others = 0;          // findings at none of their places and phases
  bool confirmed = false;  // one hid another (NaN, say): listed only after interventions
  double seconds = 0;
};

/// A clean run: nothing must be found, and GRETA must vouch for it.
struct CleanRun {
  std::string prompt = {}, route = {}, isa = {};
  int64_t tokens = 0;
  int threads = 0;
  int findings = 0;
  RunStatus status = RunStatus::inconclusive;
  std::string noisiest = {};  // stage
  double coverage = 0, noise_ratio = 0;
  double seconds = 0;
  bool good() const { return findings == 0 && is_clean(status); }
};

/// A fault with a size, where it is put, and the smallest relative size at which it is flagged there.
struct DetectionLimit {
  std::string fault;
  Phase phase = Phase::prefill;
  int layer = 0;
  std::string route;           // "matrix" or "vector", of all projections
  std::optional<double> size;  // to a factor of 1.1; empty: not even the largest that was tried
};

struct PowerResult {
  std::string model, isa, command_line, version;
  int threads = 0;
  std::vector<Detection> singles;
  std::vector<std::string> impossible;  // what the model can't have in any layer, and why
  std::vector<StackedDetection> stacks;
  std::vector<CleanRun> clean;
  std::vector<DetectionLimit> limits;
  double seconds = 0;
};

}  // namespace greta
