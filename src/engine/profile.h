#pragma once
// Where a forward pass spends its time:
// an edit of the plan that puts a clock around every kernel, and the sums by stage.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/plan.h"

namespace greta {

/// What all ops of one stage and kind did together, over all layers and runs.
struct StageTime {
  std::string stage = {};           // "q", "pv", ...; of helpers their kind: "quantize"
  std::string kernel = {};          // of the last op that ran
  Format multiplies = Format::f32;  // what its inputs are rounded to: which unit of the machine it uses
  int64_t runs = 0;
  double seconds = 0;     // of the first thread, without the waiting for the others
  double bytes = 0;       // weights and cache read, activations read and written
  double operations = 0;  // a multiply and an add count as two; 0 where it is not what matters
};

class Profile {
 public:
  /// Wraps every kernel of `plan` so that its runs are counted here. The profile must outlive the plan's
  /// runs. Threads meet before every op, which an unprofiled plan may spare:
  /// read shares of time from it, not speeds.
  void attach(Plan& plan);

  /// In the order of the plan's ops.
  const std::vector<StageTime>& stages() const { return stages_; }

  void clear();

 private:
  class Clock;
  size_t index_of(const std::string& stage);

  std::vector<StageTime> stages_;
};

}  // namespace greta
