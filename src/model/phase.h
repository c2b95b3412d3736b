#pragma once
// The two ways to run a model: many tokens at once, or one against a KV cache.

#include <string_view>

namespace greta {

enum class Phase { prefill, decode };

constexpr std::string_view name(Phase phase) { return phase == Phase::prefill ? "prefill" : "decode"; }

}  // namespace greta
