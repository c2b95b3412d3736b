#include "kernels/ceilings.h"
#include "kernels/cpu/keep_busy.h"

namespace greta::avx512 {
namespace {

double f32_fma_operations(int64_t rounds) {
  return keep_busy(
      rounds, 16 * 2, _mm512_set1_ps(1.0f), _mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f),
      [](__m512 acc, __m512 x, __m512 y)
          __attribute__((always_inline)) { return _mm512_fmadd_ps(x, y, acc); });
}

double int8_dot_operations(int64_t rounds) {
  return keep_busy(
      rounds, 64 * 2, _mm512_setzero_si512(), _mm512_set1_epi8(3), _mm512_set1_epi8(2),
      [](__m512i acc, __m512i x, __m512i y)
          __attribute__((always_inline)) { return _mm512_dpbusd_epi32(acc, x, y); });
}

uint64_t read_all(const std::byte* bytes, int64_t size) {
  __m512i sum[8] = {};
  int64_t i = 0;
  for (; i + 512 <= size; i += 512) {
    GRETA_UNROLL(8)
    for (int j = 0; j < 8; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(bytes + i + 64 * j));
  }
  GRETA_UNROLL(8)
  for (int j = 1; j < 8; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  uint64_t words[8];
  _mm512_storeu_si512(words, sum[0]);
  return words[0] ^ words[7];
}

}  // namespace

const UnitLoops kUnitLoops{f32_fma_operations, int8_dot_operations, read_all};

}  // namespace greta::avx512
