#include "base/thread_pool.h"

#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/usable_cores.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Every write that a sleeper may wait for is a read-modify-write with seq_cst order. A plain release store
// could still sit in the store buffer while notify_all() reads that nobody sleeps (libstdc++ skips the system
// call then); the other thread would go to sleep on the old value, for ever.

namespace greta {
namespace {

// How often a waiting thread looks before it sleeps: 100 us on a Zen 4, some 200 us where a pause is longer,
// more than an op takes. On a busy machine two threads may have to share a core, and then looking only keeps
// the one that is waited for from running: a long wait in vain makes the next ones short.
// Measured on SmolLM2's decode, 2 threads, 2 cores, three other busy programs: 3 to 23 tok/s with long waits
// only, 56 to 182 with these; without other programs about 400 with either.
constexpr int kLongSpins = 4000;
constexpr int kShortSpins = 50;
constexpr int kShortWaits = 64;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// True as soon as `value` differs from `old`; false if it does not within `spins` looks.
bool spin(const std::atomic<uint32_t>& value, uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return true;
    relax();
  }
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 1 ? threads : 1), may_spin_(size_ <= allowed_cpus()) {
  workers_.reserve(static_cast<size_t>(size_ - 1));
  try {
    for (int i = 1; i < size_; ++i) workers_.emplace_back([this, i] { worker(i); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    join();
    fail_machine("cannot start {} threads, only {}: {}; ask for fewer (--threads)", size_, started,
                 error.what());
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() noexcept {
  stop_.store(true, std::memory_order_release);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

/// Waits until `value` differs from `old`; returns the new value.
uint32_t ThreadPool::await_change(const std::atomic<uint32_t>& value, uint32_t old) noexcept {
  if (may_spin_) {
    const int short_waits = short_waits_.load(std::memory_order_relaxed);
    const bool seen = spin(value, old, short_waits > 0 ? kShortSpins : kLongSpins);
    // Nothing is learned from waiting for work. Of two threads that store here one may be lost: no harm.
    if (short_waits > 0) {
      short_waits_.store(short_waits - 1, std::memory_order_relaxed);
    } else if (!seen && &value != &generation_) {
      short_waits_.store(kShortWaits, std::memory_order_relaxed);
    }
    if (seen) return value.load(std::memory_order_acquire);
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

void ThreadPool::run(const std::function<void(Part)>& body) {
  if (size_ == 1) return body({0, 1});
  body_ = &body;
  finished_.store(0, std::memory_order_relaxed);
  arrived_.store(0, std::memory_order_relaxed);  // a failed run leaves some behind
  failed_.store(false, std::memory_order_relaxed);
  generation_.fetch_add(1);  // publishes the lines above
  generation_.notify_all();
  run_part(0);
  const uint32_t all = static_cast<uint32_t>(size_ - 1);
  for (uint32_t done = finished_.load(std::memory_order_acquire); done != all;) {
    done = await_change(finished_, done);
  }
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::run_part(int index) noexcept {
  try {
    (*body_)({index, size_});
  } catch (const Abandoned&) {
  } catch (...) {
    fail(std::current_exception());
  }
}

/// Records the first failure and opens the barrier for those who wait for this thread: they find failed_ set.
void ThreadPool::fail(std::exception_ptr error) noexcept {
  if (failed_.exchange(true)) return;
  error_ = std::move(error);
  phase_.fetch_add(1);
  phase_.notify_all();
}

void ThreadPool::barrier() {
  if (size_ == 1) return;
  // The phase is read before failed_: whoever misses the failure sees the phase change that follows it.
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (failed_.load(std::memory_order_acquire)) throw Abandoned{};
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1);
    phase_.notify_all();
    return;
  }
  await_change(phase_, phase);
  if (failed_.load(std::memory_order_acquire)) throw Abandoned{};
}

void ThreadPool::worker(int index) {
  uint32_t seen = 0;
  for (;;) {
    seen = await_change(generation_, seen);  // between two tokens the next run comes soon
    if (stop_.load(std::memory_order_acquire)) return;
    run_part(index);
    if (finished_.fetch_add(1) + 1 == static_cast<uint32_t>(size_ - 1)) finished_.notify_all();
  }
}

}  // namespace greta
