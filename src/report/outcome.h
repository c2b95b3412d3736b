#pragma once
// A verdict, or a comparison, as machines are told it: what JUnit, SARIF, GitHub and agents have in common.

#include <string>
#include <string_view>
#include <vector>

#include "report/report.h"
#include "verdict/comparison.h"

namespace greta::report {

struct Outcome {
  enum class Level { error, warning, note };
  /// Something that one must look at.
  struct Result {
    Level level = Level::error;
    std::string rule = {};     // the hypothesis, "unexplained", a flag
    std::string place = {};    // "prefill/L2-5/q": what does not change from run to run
    std::string message = {};  // one sentence
    std::string kernel = {};   // that computed it; or none
    double noise_ratio = 0;
    std::string facts = {};  // "residual=1.00000 proof=confirmed": what an agent reads
    std::string next = {};   // the command to run
  };
  /// A stage of a cell.
  struct Case {
    enum class State { passed, failed, unmeasured };
    std::string suite = {}, name = {};
    State state = State::passed;
    std::string message = {};
  };

  std::string subject = {};  // the model, or what was compared
  std::string source = {};   // the bundle: where results are located
  std::string version = {};  // of GRETA
  RunStatus status = RunStatus::inconclusive;
  std::string headline = {};
  Coverage coverage = {};
  std::vector<Result> results = {};
  std::vector<Case> cases = {};
  std::string summary = {};  // Markdown
};

Outcome outcome_of(const Report& report);
Outcome outcome_of(const BundleComparison& comparison, const std::string& a, const std::string& b);

/// JUnit XML: a suite per cell, a case per stage; what was not measured is skipped, with the reason.
std::string junit(const Outcome& outcome);

/// SARIF 2.1.0, at most 5000 results: so many GitHub shows.
std::string sarif(const Outcome& outcome);

/// Workflow commands, at most ten annotations: GitHub drops the rest of a step's.
std::string github(const Outcome& outcome);

/// A line for the verdict, one per result with the next command; `key=value`, values with blanks in quotes.
std::string agent(const Outcome& outcome);

}  // namespace greta::report
