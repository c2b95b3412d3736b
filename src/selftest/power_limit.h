#pragma once
// The weakest fault that is still flagged, by bisection over its size.

#include <optional>
#include <string>
#include <vector>

#include "fault/fault.h"
#include "record/matrix.h"
#include "verdict/power.h"

namespace greta {

/// eps of both norms, softmax scale, RoPE base of q, one element of Wv, one of the cache: each in the first,
/// a middle and the last layer, in both phases, on both routes; those whose name has `only`. Sizes empty.
std::vector<DetectionLimit> planned_limits(int n_layer, const std::string& only);

/// Fills `limit.size`. Flagged is: a finding at the fault's place and phase. Names are not asked for.
void find_limit(Engine& engine, const std::vector<Prompt>& prompts, DetectionLimit& limit);

}  // namespace greta
