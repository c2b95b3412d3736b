#pragma once
// A team of threads that walks a plan together: one wake-up per forward pass, a barrier between ops.
// Waiting threads spin for a few microseconds (an op is short), then sleep: an idle machine stays idle.

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace greta {

/// One thread's share of an op's work: part `index` of `count`.
struct Part {
  int index = 0;
  int count = 1;
  /// The half-open range [begin, end) of `total` units that is this part's. Ranges of all parts tile [0,
  /// total).
  struct Range {
    int64_t begin, end;
  };
  Range of(int64_t total) const { return {total * index / count, total * (index + 1) / count}; }
};

class ThreadPool {
 public:
  /// `threads` >= 1; the caller of run() is one of them.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs body(part) once on every thread and returns when all have finished. `body` must not throw.
  void run(const std::function<void(Part)>& body);

  /// Called by every thread inside run(): returns once all have arrived. What was written before is seen
  /// after.
  void barrier();

 private:
  void worker(int index);

  std::vector<std::thread> workers_;
  const std::function<void(Part)>* body_ = nullptr;
  std::atomic<uint32_t> generation_{0};  // a new value starts a run
  std::atomic<bool> stop_{false};
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> phase_{0};  // a new value opens the barrier
};

}  // namespace greta
