#include <immintrin.h>

#include "kernels/ceilings.h"

namespace greta::avx512 {
namespace {

constexpr int kChains = 24;

inline void touch(__m512& v) { __asm__ volatile("" : "+v"(v)); }
inline void touch(__m512i& v) { __asm__ volatile("" : "+v"(v)); }

double bf16_dot_operations(int64_t rounds) {
  __m512 acc[kChains];
#pragma GCC unroll 24
  for (__m512& a : acc) a = _mm512_set1_ps(1.0f), touch(a);
  __m512i x = _mm512_set1_epi16(0x3f00), y = _mm512_set1_epi16(0x3e80);
  touch(x), touch(y);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], (__m512bh)x, (__m512bh)y);
  }
#pragma GCC unroll 24
  for (__m512& a : acc) touch(a);
  return static_cast<double>(rounds) * kChains * 32 * 2;
}

}  // namespace

const Bf16Loops kBf16Loops{bf16_dot_operations};

}  // namespace greta::avx512
