#pragma once
// A team of threads that walks a plan together: one wake-up per forward pass, a barrier between ops.
// Waiting threads spin for some microseconds (an op is short), then sleep: an idle machine stays idle.

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace greta {

/// One thread's share of an op's work: part `index` of `count`.
struct Part {
  int index = 0;
  int count = 1;
  /// The half-open range [begin, end) of `total` units that is this part's.
  /// Ranges of all parts tile [0, total).
  struct Range {
    int64_t begin, end;
  };
  Range of(int64_t total) const { return {total * index / count, total * (index + 1) / count}; }
};

class ThreadPool {
 public:
  /// `threads` >= 1; the caller of run() is one of them.
  /// Throws a machine Error if the system has no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Runs body(part) once on every thread and returns when all have finished. Not reentrant: one run at a
  /// time. When a body throws, the others leave at their next barrier(), and run() throws the first
  /// exception. The pool can be used again.
  void run(const std::function<void(Part)>& body);

  /// Called by every thread inside run(): returns once all have arrived.
  /// What was written before is seen after.
  void barrier();

 private:
  struct Abandoned {};  // thrown by barrier() on the threads whose team-mate has failed

  void worker(int index);
  void run_part(int index) noexcept;
  void fail(std::exception_ptr error) noexcept;
  void join() noexcept;
  uint32_t await_change(const std::atomic<uint32_t>& value, uint32_t old) noexcept;

  const int size_;
  const bool may_spin_;  // no more threads than cores
  std::vector<std::thread> workers_;
  const std::function<void(Part)>* body_ = nullptr;
  std::exception_ptr error_;  // written by the thread that set failed_, read after the run

  // Each on its own cache line: who arrives must not disturb who looks.
  alignas(64) std::atomic<uint32_t> generation_{0};  // a new value starts a run
  std::atomic<bool> stop_{false};
  alignas(64) std::atomic<uint32_t> phase_{0};  // a new value opens the barrier
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<int> short_waits_{0};  // the next waits that look only briefly before they sleep
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> finished_{0};  // workers done with this run
};

}  // namespace greta
