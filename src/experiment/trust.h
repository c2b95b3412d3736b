#pragma once
// What engine and judge read of the file alike, no oracle can tell. Whether it is right shows, where it shows
// at all, in how well the model foresees text: with another value it foresees worse.

#include <functional>
#include <span>

#include "experiment/program.h"
#include "verdict/exercise.h"

namespace greta {

/// The loss of `tokens` as the program runs them, and what other values of what it takes on trust cost.
/// Fewer than kFewestScored tokens tell nothing.
Trust weigh_trust(const Program& program, std::span<const int32_t> tokens,
                  const std::function<void(const std::string& label)>& step);

inline constexpr size_t kFewestScored = 16, kMostScored = 128;

}  // namespace greta
