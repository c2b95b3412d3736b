#pragma once
// A function with a stack of its own, which can wait in the middle. Sanitizers are told of every switch.

#include <cstddef>
#include <memory>

namespace greta::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(Fiber&&) noexcept;
  Fiber& operator=(Fiber&&) = delete;

  /// The next resume() begins `body(context)` on the fiber's stack, whatever was there.
  void start(void (*body)(void* context), void* context);
  /// Runs until the body waits or ends.
  void resume();
  /// Called by the body: resume() returns. (A body may not throw.)
  void wait();
  bool ended() const;

 private:
  struct Switch;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace greta::emulator
