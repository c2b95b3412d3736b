#pragma once
// What this machine can do at most, measured in the same run as what is held against it.

#include <cstddef>
#include <cstdint>

#include "base/aligned.h"
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

/// All but `read`, which ReadMeter measures. Takes about a quarter of a second.
Ceilings measure_ceilings(ThreadPool& pool);

/// How fast the threads together read memory. Where neighbours share it, that changes from one second to the
/// next: measure beside what is held against it.
class ReadMeter {
 public:
  /// 512 MiB are far beyond any cache.
  explicit ReadMeter(ThreadPool& pool, int64_t bytes = int64_t{1} << 29);

  /// Bytes per second: the best of `rounds`, of about 10 ms each.
  double measure(int rounds);

 private:
  ThreadPool& pool_;
  AlignedBytes memory_;
};

/// Loops that keep one unit busy: `rounds` rounds of work on 24 independent registers. They return the number
/// of operations. Pointers, so that nothing compiled for one ISA can be linked into another's place.
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
