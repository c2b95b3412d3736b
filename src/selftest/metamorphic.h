#pragma once
// Checks that need no reference: the engine against itself, under changes that must not change anything. A
// fault that both phases share escapes most of them; the oracle (judge/judge.h) is for those.

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan_change.h"

namespace greta {

/// The first element at which two runs that should agree bit for bit do not.
struct Deviation {
  std::string phase;     // of the run that deviates: "prefill", "decode", or "" where it has both
  int64_t length = 0;    // tokens in that run's context
  int layer = kNoLayer;  // of the cache or the attention; kNoLayer for logits
  int64_t position = 0;
  std::string what;     // "key", "value", "logits", "softmax", "pv"
  int64_t element = 0;  // index within that position's row
  float expected = 0;
  float observed = 0;
};

/// "layer 3, position 12, key[17] (129 tokens)".
std::string place(const Deviation& deviation);
/// "0.25, expected 0.5", with all digits of a float.
std::string values(const Deviation& deviation);

/// One setting of a check: a length, a chunk size, a thread count.
struct CheckCase {
  std::string label;
  std::optional<Deviation> deviation = {};  // none: passed
};

enum class CheckResult { passed, failed, not_applicable };

std::string_view name(CheckResult result);

struct MetamorphicCheck {
  std::string name;
  std::string states;  // what must hold, at most 41 characters
  std::vector<CheckCase> cases = {};
  std::string why_not = {};  // why it does not apply, or says less than it could; one line

  /// not_applicable when no case was run.
  CheckResult result() const;
};

struct MetamorphicRequest {
  RouteTable routes = {};
  PlanChange change = {};  // of every plan: faults
  int threads = 1;         // of all runs but those that vary it
  std::function<void(int done, int total, const std::string& what)> step = {};  // may throw to stop
};

/// Threads that an engine needs so that run_metamorphic can vary their number (faulty twins have a buffer for
/// each thread of their engine).
int engine_threads_for_metamorphic(int threads);

/// Runs all checks. Lengths are bounded by the model's context. Throws a machine Error if `engine` was made
/// with fewer threads than the function above says, and what making the plans throws.
std::vector<MetamorphicCheck> run_metamorphic(Engine& engine, const MetamorphicRequest& request);

/// {"checks": [...], "passed": n, "failed": n, "not_applicable": n}
nlohmann::json to_json(const std::vector<MetamorphicCheck>& checks);

}  // namespace greta
