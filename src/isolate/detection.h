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

/// One injected fault and what the diagnosis made of it.
struct Detection {
  std::string fault;  // as --inject takes it
  std::string fault_class;
  std::string expected;      // hypothesis; "" when there is none
  bool acts = false;         // the recorded values differ from a clean run's: only then can it be found
  bool found = false;        // some finding
  bool right_phase = false;  // of the finding at its place
  bool right_place = false;  // layer and stage
  bool first = false;        // and no finding comes before it in execution order
  std::string named;         // what the finding there says; "" without one
  bool right_name = false;   // the expected hypothesis, or no name where none is expected
  bool wrong_name = false;   // a name given with confidence that is another: the worst result
  int others = 0;            // findings elsewhere: false alarms
  double explained_residual = 0, noise_ratio = 0;
  double seconds = 0;
};

/// A run of several faults at once: one Detection for each.
struct StackedDetection {
  std::vector<Detection> faults;
  int others = 0;
};

/// A clean run: nothing must be found.
struct CleanRun {
  std::string what;
  int findings = 0;
  double coverage = 0, noise_ratio = 0;
};

class PowerTest {
 public:
  /// `prompts` are what every run uses; E0 only.
  PowerTest(Engine& engine, std::vector<MatrixPrompt> prompts, int threads);

  /// The fault in one phase and layer.
  Detection single(const FaultSpec& spec) const;
  StackedDetection stacked(const std::vector<FaultSpec>& specs) const;
  /// No fault, these routes.
  CleanRun clean(const std::string& what, const RouteTable& routes,
                 const std::vector<MatrixPrompt>& prompts) const;

 private:
  struct Outcome {
    trace::Bundle bundle;
    Verdict verdict;
    double seconds = 0;
  };
  Outcome run(const std::vector<FaultSpec>& specs, const RouteTable& routes,
              const std::vector<MatrixPrompt>& prompts) const;
  Detection compare(const FaultSpec& spec, const Outcome& outcome) const;

  Engine& engine_;
  std::vector<MatrixPrompt> prompts_;
  int threads_;
  trace::Bundle clean_;
};

}  // namespace greta::isolate
