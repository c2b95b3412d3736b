#pragma once
// One loop that keeps a unit of the core busy:
// what the ceilings of kernels/ceilings.h count. For AVX-512 files only.

#include <immintrin.h>

#include <cstdint>

#include "base/compiler.h"

namespace greta::avx512 {
namespace {

constexpr int kChains = 24;  // independent registers: more than latency times throughput of any unit

/// Keeps a register's value from being computed ahead or dropped.
template <class V>
GRETA_INLINE void touch(V& v) {
  __asm__ volatile("" : "+v"(v));
}

/// `rounds` rounds of acc = step(acc, x, y) in every chain; returns the operations, `each` per step.
template <class Acc, class In, class Step>
GRETA_INLINE double keep_busy(int64_t rounds, int each, Acc start, In x, In y, Step step) {
  Acc acc[kChains];
  GRETA_UNROLL(24)
  for (Acc& a : acc) a = start, touch(a);
  touch(x), touch(y);
  for (int64_t i = 0; i < rounds; ++i) {
    GRETA_UNROLL(24)
    for (int c = 0; c < kChains; ++c) acc[c] = step(acc[c], x, y);
  }
  GRETA_UNROLL(24)
  for (Acc& a : acc) touch(a);
  return rounds * kChains * each;
}

}  // namespace
}  // namespace greta::avx512
