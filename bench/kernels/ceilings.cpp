#include "kernels/ceilings.h"

#include <cstring>

#include "base/cpu_features.h"

namespace greta::bench {

bool has_avx512_units() {
  // Asked once: under a hypervisor CPUID takes microseconds.
  static const bool has = missing_features("avx512f avx512bw avx512vl avx512vnni avx512bf16").empty();
  return has;
}

uint64_t read_all(const std::byte* bytes, int64_t size) {
  if (has_avx512_units()) return read_all_avx512(bytes, size);
  uint64_t sum = 0;
  for (int64_t i = 0; i + 8 <= size; i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + i, 8);
    sum ^= word;
  }
  return sum;
}

}  // namespace greta::bench
