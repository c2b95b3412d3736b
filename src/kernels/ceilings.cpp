#include "kernels/ceilings.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/aligned.h"
#include "base/cpu_features.h"
#include "base/timing.h"

namespace greta {
namespace {

/// Operations per second of all threads, the best of some rounds of about 10 ms.
double rate(ThreadPool& pool, double (*operations)(int64_t rounds)) {
  constexpr int64_t kRounds = 1 << 20;
  double best = 0;
  for (int round = 0; round < 6; ++round) {
    std::atomic<int64_t> done{0};
    const double time = seconds_of(
        [&] { pool.run([&](Part) { done.fetch_add(static_cast<int64_t>(operations(kRounds))); }); });
    best = std::max(best, static_cast<double>(done.load()) / time);
  }
  return best;
}

uint64_t read_words(const std::byte* bytes, int64_t size) {
  uint64_t sum = 0;
  for (int64_t i = 0; i + 8 <= size; i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + i, 8);
    sum ^= word;
  }
  return sum;
}

bool has(const char* features) { return missing_features(features).empty(); }

}  // namespace

ReadMeter::ReadMeter(ThreadPool& pool, int64_t bytes) : pool_(pool), memory_(bytes) {
  std::memset(memory_.data(), 1, static_cast<size_t>(bytes));
}

double ReadMeter::measure(int rounds) {
  const auto read = has("avx512f") ? avx512::kUnitLoops.read : read_words;
  const int64_t bytes = memory_.size();
  std::atomic<uint64_t> sink{0};  // keeps the reads from being optimised away
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const double time = seconds_of([&] {
      pool_.run([&](Part part) {
        const Part::Range lines = part.of(bytes / 512);
        sink.fetch_xor(read(memory_.data() + lines.begin * 512, (lines.end - lines.begin) * 512));
      });
    });
    best = std::max(best, static_cast<double>(bytes) / time);
  }
  return best;
}

Ceilings measure_ceilings(ThreadPool& pool) {
  Ceilings ceilings;
  if (has("avx512f")) ceilings.f32_fma = rate(pool, avx512::kUnitLoops.f32_fma);
  if (has("avx512f avx512vnni")) ceilings.int8_dot = rate(pool, avx512::kUnitLoops.int8_dot);
  if (has("avx512f avx512bf16")) ceilings.bf16_dot = rate(pool, avx512::kBf16Loops.bf16_dot);
  return ceilings;
}

}  // namespace greta
