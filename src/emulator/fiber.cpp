#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define GRETA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GRETA_ASAN 1
#endif
#endif
#ifdef GRETA_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
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
namespace {

constexpr size_t kStackBytes = 256 << 10;  // touched as far as it is used; sanitizers use more

}  // namespace

struct Fiber::State {
  std::byte* stack;
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  void *own = nullptr, *caller = nullptr;  // where each one's registers lie
  bool ended = true;
#ifdef GRETA_ASAN
  void* own_fake = nullptr;
  const void* caller_bottom = nullptr;
  size_t caller_size = 0;
#endif

  static void main(State* state);
  void to_caller(bool last);
  void to_own();
};

namespace {
thread_local void* starting = nullptr;
}

void Fiber::State::main(State* state) {
#ifdef GRETA_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &state->caller_bottom, &state->caller_size);
#endif
  state->body(state->context);
  state->ended = true;
  state->to_caller(true);
}

void Fiber::State::to_own() {
#ifdef GRETA_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack, kStackBytes);
#endif
  greta_switch_stack(&caller, own);
#ifdef GRETA_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::State::to_caller([[maybe_unused]] bool last) {
#ifdef GRETA_ASAN
  __sanitizer_start_switch_fiber(last ? nullptr : &own_fake, caller_bottom, caller_size);
#endif
  greta_switch_stack(&own, caller);
#ifdef GRETA_ASAN
  __sanitizer_finish_switch_fiber(own_fake, &caller_bottom, &caller_size);
#endif
}

Fiber::Fiber() : state_(std::make_unique<State>()) {
  void* memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  state_->stack = static_cast<std::byte*>(memory);
}

Fiber::Fiber(Fiber&&) noexcept = default;

Fiber::~Fiber() {
  if (state_) munmap(state_->stack, kStackBytes);
}

void Fiber::start(void (*body)(void*), void* context) {
  State& s = *state_;
#ifdef GRETA_ASAN
  __asan_unpoison_memory_region(s.stack, kStackBytes);
#endif
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

void Fiber::wait() { state_->to_caller(false); }

bool Fiber::ended() const { return state_->ended; }

}  // namespace greta::emulator
