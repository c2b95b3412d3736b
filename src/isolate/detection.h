#pragma once
// The tool's own power, measured: faults are put in one by one and several at a time, and what the diagnosis
// says is held against what was done.

#include <functional>
#include <string>
#include <vector>

#include "isolate/fault.h"
#include "isolate/matrix.h"
#include "isolate/verdict.h"
#include "trace/bundle.h"

namespace greta::isolate {

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

/// What `verdict`, of a run with `spec` and others, says of `spec`. `others` counts all findings that are not
/// at its place in its phase.
Detection held_against(const FaultSpec& spec, const Verdict& verdict);

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
  std::string status = {};
  std::string noisiest = {};  // stage
  double coverage = 0, noise_ratio = 0;
  double seconds = 0;
  bool good() const { return findings == 0 && (status == "EQUAL" || status == "ROUNDING"); }
};

class PowerTest {
 public:
  /// All runs use `prompts`, `routes` and E0,
  /// and judge with the engine's number of threads. Runs once, clean.
  PowerTest(Engine& engine, std::vector<MatrixPrompt> prompts, RouteTable routes = {});

  /// Throws an input Error where the model can't have the fault at its layer.
  Detection single(const FaultSpec& spec) const;
  /// A fault that acts on routes: E1 and E2 with it, and INERT_FACTOR as the right answer.
  Detection ignored_routes(const FaultSpec& spec) const;
  /// Interventions follow only where the judgement alone does not list all.
  StackedDetection stacked(const std::vector<FaultSpec>& specs) const;

 private:
  MatrixRequest request(const std::vector<FaultSpec>& specs, const std::string& experiments) const;

  Engine& engine_;
  std::vector<MatrixPrompt> prompts_;
  RouteTable routes_;
  trace::Bundle clean_;
};

/// No fault, E0, one prompt. `route` is a label for `routes`.
CleanRun clean_run(Engine& engine, const MatrixPrompt& prompt, const std::string& route,
                   const RouteTable& routes);

}  // namespace greta::isolate
