#include "engine/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/aligned.h"

namespace greta {

double measure_read_bandwidth(ThreadPool& pool, int64_t bytes, int rounds) {
  const AlignedBytes memory = [&] {
    AlignedBytes filled(bytes);
    std::memset(filled.data(), 1, static_cast<size_t>(bytes));
    return filled;
  }();
  const uint64_t* words = reinterpret_cast<const uint64_t*>(memory.data());
  std::atomic<uint64_t> sink{0};  // keeps the reads from being optimised away
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](Part part) {
      const Part::Range lines = part.of(bytes / 64);
      uint64_t sum[8] = {};
      for (int64_t line = lines.begin; line < lines.end; ++line) {
        for (int i = 0; i < 8; ++i) sum[i] ^= words[line * 8 + i];
      }
      uint64_t total = 0;
      for (const uint64_t s : sum) total ^= s;
      sink.fetch_xor(total, std::memory_order_relaxed);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(bytes) / seconds.count());
  }
  return best;
}

}  // namespace greta
