#pragma once
// What an op read, by the bundle's own word ("operands" of an event), against what its producer left: equal,
// or a buffer was reused, the order is wrong, a rounded form is stale, threads did not meet.

#include <string>
#include <vector>

#include "base/text.h"
#include "judge/stage_oracle.h"

namespace greta {

/// An operand that was not what was recorded of it when the op began.
struct OtherOperand {
  size_t index = 0;      // among operands_at()
  At at = {};            // what it ought to be
  Format format = {};    // in which it was read
  SharedRows rows = {};  // as they were read, [positions, width]
  std::vector<int64_t> positions = {};
};

/// Of a recorded stage. Those that were not looked at, or whose rows were not kept, are not among them.
std::vector<OtherOperand> other_operands(const PhaseRecord& phase, At at);

/// Whether the stage's op read this operand as it was recorded.
bool was_read(const PhaseRecord& phase, At at, At operand);

/// Whether what was read is near the recorded rows, and no recorded stage's: a rounding of them by another
/// rule than the format's. `off` is then their relative L2 distance.
bool is_rounded_otherwise(const OtherOperand& operand, const PhaseRecord& here, double* off);

/// What the op read instead: "zeros"; which recorded rows of this bundle, "attn_norm of layer 0"; else how
/// they differ, or that no stage left them. `here`: the phase that they were read in.
Text what_was_read(const OtherOperand& operand, const PhaseRecord& here);

}  // namespace greta
