#include "kernels/ceilings.h"
#include "kernels/cpu/keep_busy.h"

namespace greta::avx512 {
namespace {

double bf16_dot_operations(int64_t rounds) {
  return keep_busy(
      rounds, 32 * 2, _mm512_set1_ps(1.0f), _mm512_set1_epi16(0x3f00), _mm512_set1_epi16(0x3e80),
      [](__m512 acc, __m512i x, __m512i y)
          __attribute__((always_inline)) { return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)y); });
}

}  // namespace

const Bf16Loops kBf16Loops{bf16_dot_operations};

}  // namespace greta::avx512
