#pragma once
// What this CPU and its operating system can run.

#include <string>
#include <string_view>

namespace greta {

/// The features of the space-separated list `needs` (as in /proc/cpuinfo, without underscores) that this
/// machine lacks, space-separated; empty when all are there.
/// A wide feature counts only if the system saves its registers.
std::string missing_features(std::string_view needs);

}  // namespace greta
