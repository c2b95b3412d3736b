#include <immintrin.h>

#include "kernels/ceilings.h"

namespace greta::avx512 {
namespace {

constexpr int kChains = 24;

// Keeps a register's value from being computed ahead or dropped.
inline void touch(__m512& v) { __asm__ volatile("" : "+v"(v)); }
inline void touch(__m512i& v) { __asm__ volatile("" : "+v"(v)); }

double f32_fma_operations(int64_t rounds) {
  __m512 acc[kChains];
#pragma GCC unroll 24
  for (__m512& a : acc) a = _mm512_set1_ps(1.0f), touch(a);
  __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
  touch(x), touch(y);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_fmadd_ps(x, y, acc[c]);
  }
#pragma GCC unroll 24
  for (__m512& a : acc) touch(a);
  return static_cast<double>(rounds) * kChains * 16 * 2;
}

double int8_dot_operations(int64_t rounds) {
  __m512i acc[kChains];
#pragma GCC unroll 24
  for (__m512i& a : acc) a = _mm512_setzero_si512(), touch(a);
  __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(2);
  touch(x), touch(y);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbusd_epi32(acc[c], x, y);
  }
#pragma GCC unroll 24
  for (__m512i& a : acc) touch(a);
  return static_cast<double>(rounds) * kChains * 64 * 2;
}

uint64_t read_all(const std::byte* bytes, int64_t size) {
  __m512i sum[8] = {};
  int64_t i = 0;
  for (; i + 512 <= size; i += 512) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(bytes + i + 64 * j));
  }
#pragma GCC unroll 8
  for (int j = 1; j < 8; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  uint64_t words[8];
  _mm512_storeu_si512(words, sum[0]);
  return words[0] ^ words[7];
}

}  // namespace

const UnitLoops kUnitLoops{f32_fma_operations, int8_dot_operations, read_all};

}  // namespace greta::avx512
