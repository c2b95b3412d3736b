#pragma once
// What this CPU and its operating system can run.

#include <string>
#include <string_view>

namespace greta {

/// The features of the space-separated list `needs` (as in /proc/cpuinfo, without underscores) that this
/// machine lacks, space-separated; empty when all are there.
/// A wide feature counts only if the system saves its registers.
std::string missing_features(std::string_view needs);

/// What files need that are compiled for AVX2 or AVX-512 (kernels/cpu/isa.cmake has the flags).
inline constexpr const char* kAvx2Features = "avx2 fma f16c";
inline constexpr const char* kAvx512Features = "avx2 fma f16c avx512f avx512bw avx512dq avx512vl";

}  // namespace greta
