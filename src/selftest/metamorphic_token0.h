#pragma once
// Token 0 sees only itself: its softmax is exactly 1 there and 0 elsewhere, and its attention is the value
// that it wrote. Internal to this room.

#include <span>

#include "experiment/snapshot.h"

namespace greta {

/// Runs `plan` (attention is taken apart in it) over `tokens` from position 0 and looks at row 0 of every
/// layer: the cases "<phase> softmax" and "<phase> pv".
/// A plan whose softmax is hidden in another op has only the latter.
std::vector<CheckCase> check_token0(const Engine& engine, ThreadPool& pool, Plan plan,
                                    std::span<const int32_t> tokens);

}  // namespace greta
