#pragma once
// What one core of this machine can do at most, measured in the same run as the kernels.

#include <cstddef>
#include <cstdint>

namespace greta::bench {

/// True if ceilings_avx512.cpp can run here.
bool has_avx512_units();

// Each does `rounds` rounds of work on 24 independent registers and returns the operations done (a multiply
// and an add count as two).
double f32_fma_operations(int64_t rounds);
double int8_dot_operations(int64_t rounds);
double bf16_dot_operations(int64_t rounds);

/// Reads every byte once (with the widest loads that the build has) and returns something that depends on
/// them.
uint64_t read_all(const std::byte* bytes, int64_t size);
uint64_t read_all_avx512(const std::byte* bytes, int64_t size);

}  // namespace greta::bench
