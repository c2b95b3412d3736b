#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// Stores the registers that a call keeps on the running stack, the stack's pointer at *from, and goes on with
// those that lie at `to`.
asm(R"(
  .text
  .p2align 4
  .hidden greta_switch_stack
  .globl greta_switch_stack
  .type greta_switch_stack, @function
greta_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size greta_switch_stack, . - greta_switch_stack
)");
extern "C" void greta_switch_stack(void** from, void* to);

namespace greta::emulator {

constexpr size_t kStackBytes = 256 << 10;  // touched as far as it is used; sanitizers use more

/// What a sanitizer must be told when a thread goes on on another stack.
#if defined(__SANITIZE_ADDRESS__)
struct Fiber::Switch {
  explicit Switch(std::byte* stack) : stack_(stack) {}
  void fresh() {
    __asan_unpoison_memory_region(stack_, kStackBytes);
    own_ = nullptr;
  }
  void to_own() { __sanitizer_start_switch_fiber(&callers_, stack_, kStackBytes); }
  void in_own() { __sanitizer_finish_switch_fiber(own_, &bottom_, &size_); }
  void to_caller(bool last) { __sanitizer_start_switch_fiber(last ? nullptr : &own_, bottom_, size_); }
  void in_caller() { __sanitizer_finish_switch_fiber(callers_, nullptr, nullptr); }

 private:
  std::byte* stack_;
  void *own_ = nullptr, *callers_ = nullptr;  // fake stacks, of who waits
  const void* bottom_ = nullptr;              // of the caller's stack
  size_t size_ = 0;
};
#elif defined(__SANITIZE_THREAD__)
struct Fiber::Switch {
  explicit Switch(std::byte*) {}
  ~Switch() { __tsan_destroy_fiber(own_); }
  void fresh() {}
  void to_own() {
    caller_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(own_, 0);
  }
  void in_own() {}
  void to_caller(bool) { __tsan_switch_to_fiber(caller_, 0); }
  void in_caller() {}

 private:
  void *own_ = __tsan_create_fiber(0), *caller_ = nullptr;
};
#else
struct Fiber::Switch {
  explicit Switch(std::byte*) {}
  void fresh() {}
  void to_own() {}
  void in_own() {}
  void to_caller(bool) {}
  void in_caller() {}
};
#endif

static std::byte* new_stack() {
  void* memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

struct Fiber::State {
  std::byte* stack = new_stack();
  Switch told{stack};
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  void *own = nullptr, *caller = nullptr;  // where each one's registers lie
  bool ended = true;

  ~State() { munmap(stack, kStackBytes); }

  static void main(State* state) {
    state->told.in_own();
    state->body(state->context);
    state->ended = true;
    state->to_caller();
  }

  void to_own() {
    told.to_own();
    greta_switch_stack(&caller, own);
    told.in_caller();
  }

  void to_caller() {
    told.to_caller(ended);
    greta_switch_stack(&own, caller);
    told.in_own();
  }
};

namespace {
thread_local void* starting = nullptr;
}

Fiber::Fiber() : state_(std::make_unique<State>()) {}
Fiber::Fiber(Fiber&&) noexcept = default;
Fiber::~Fiber() = default;

void Fiber::start(void (*body)(void*), void* context) {
  State& s = *state_;
  s.told.fresh();
  s.body = body;
  s.context = context;
  s.ended = false;
  // As greta_switch_stack leaves a stack: six registers, then where to go. At a function's first instruction
  // the stack is 8 bytes off a multiple of 16.
  void** top = reinterpret_cast<void**>(s.stack + kStackBytes) - 1;
  *top = nullptr;  // main's caller: it returns to nobody
  const auto entry = +[] { State::main(static_cast<State*>(starting)); };
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  s.own = top;
}

void Fiber::resume() {
  starting = state_.get();
  state_->to_own();
}

void Fiber::wait() { state_->to_caller(); }

bool Fiber::ended() const { return state_->ended; }

}  // namespace greta::emulator
