#pragma once
// What this machine can do at most, measured in the same run as what is held against it.

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"

namespace greta {

/// Operations of a unit's instruction per second, all threads together; a multiply and an add count as two. 0
/// where this machine lacks the unit, or where there is no measurement for it (units narrower than AVX-512).
struct Ceilings {
  double f32_fma = 0;
  double int8_dot = 0;  // vpdpbusd
  double bf16_dot = 0;  // vdpbf16ps
  double read = 0;      // bytes per second from memory
};

/// Takes about half a second and 512 MiB.
Ceilings measure_ceilings(ThreadPool& pool);

/// Bytes per second that the threads together read from `bytes` of memory: the best of `rounds`.
double measure_read(ThreadPool& pool, int64_t bytes, int rounds);

/// Loops that keep one unit busy: `rounds` rounds of work on 24 independent registers; returns the
/// operations. Pointers, so that no function of a file compiled for one ISA can be linked into another's
/// place.
struct UnitLoops {
  double (*f32_fma)(int64_t rounds);
  double (*int8_dot)(int64_t rounds);
  /// Reads every byte once and returns something that depends on them.
  uint64_t (*read)(const std::byte* bytes, int64_t size);
};
struct Bf16Loops {
  double (*bf16_dot)(int64_t rounds);
};
namespace avx512 {
extern const UnitLoops kUnitLoops;  // int8_dot needs VNNI
extern const Bf16Loops kBf16Loops;
}  // namespace avx512

}  // namespace greta
