#pragma once
// What the checks without a reference found: plain data, from which its reports are made.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/stage.h"

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

/// How many checks ended so.
int count(const std::vector<MetamorphicCheck>& checks, CheckResult result);

}  // namespace greta
