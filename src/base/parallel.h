#pragma once
// Independent pieces of work, shared by threads.

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "base/thread_pool.h"

namespace greta {

/// work(0), ..., work(n - 1), each once and in any order, on at most `threads` threads. Throws what the first
/// that failed threw.
template <class Work>
void parallel_for(int threads, size_t n, const Work& work) {
  const int team = static_cast<int>(std::min(n, static_cast<size_t>(std::max(threads, 1))));
  std::atomic<size_t> next{0};
  const auto share = [&](Part) {
    for (size_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) work(i);
  };
  if (team <= 1) return share({});
  ThreadPool(team).run(share);
}

}  // namespace greta
