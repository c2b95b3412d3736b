#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace greta {
namespace {

constexpr int kSpins =
    2000;  // some 10-50 us: longer than one op of a small model, far shorter than a time slice

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Waits until `value` differs from `old`.
uint32_t await_change(const std::atomic<uint32_t>& value, uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    relax();
  }
  for (;;) {
    value.wait(old, std::memory_order_acquire);
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
  }
}

/// More threads than cores: whoever spins keeps the one that is waited for from running.
int spins_for(int threads) {
  const unsigned cores = std::thread::hardware_concurrency();
  return cores != 0 && static_cast<unsigned>(threads) > cores ? 0 : kSpins;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(threads > 1 ? threads - 1 : 0));
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  generation_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run(const std::function<void(Part)>& body) {
  body_ = &body;
  generation_.fetch_add(1, std::memory_order_acq_rel);
  if (!workers_.empty()) generation_.notify_all();
  body({0, size()});
  barrier();
}

void ThreadPool::barrier() {
  const int count = size();
  if (count == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
  } else {
    await_change(phase_, phase, spins_for(count));
  }
}

void ThreadPool::worker(int index) {
  uint32_t seen = 0;
  for (;;) {
    // Between the tokens of a generation the next run comes at once; otherwise sleep.
    seen = await_change(generation_, seen, spins_for(2));
    if (stop_.load(std::memory_order_acquire)) return;
    (*body_)({index, static_cast<int>(workers_.size()) + 1});
    barrier();
  }
}

}  // namespace greta
