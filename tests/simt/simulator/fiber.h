// A function on a stack of its own, entered and left by hand.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "sanitizers.h"

#if !defined(__x86_64__) || defined(SIMT_UCONTEXT)
#define SIMT_SLOW_SWITCH 1
#include <ucontext.h>
#endif

namespace simt {

// Where a flow of control stands while another one runs.
#ifndef SIMT_SLOW_SWITCH
// ucontext's switch asks the kernel for the signal mask each time, which costs more than a simulated thread does.
struct Context {
  void* stack_pointer = nullptr;
};
extern "C" void simt_switch(void** leave, void* enter);
asm(R"(
.pushsection .text
.weak simt_switch
.hidden simt_switch
.type simt_switch, @function
simt_switch:
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
.size simt_switch, . - simt_switch
.popsection
)");
inline void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
  // Six saved registers, the entry as return address, and a return address of zero for the entry itself.
  auto* top = reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15)) - 2;
  top[0] = reinterpret_cast<uintptr_t>(entry), top[1] = 0;
  for (int k = 1; k <= 6; ++k) top[-k] = 0;
  context.stack_pointer = top - 6;
}
inline void switch_context(Context& leave, Context& enter) { simt_switch(&leave.stack_pointer, enter.stack_pointer); }
#else
using Context = ucontext_t;
inline void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack, context.uc_stack.ss_size = bytes, context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
inline void switch_context(Context& leave, Context& enter) { swapcontext(&leave, &enter); }
#endif

// The flow of control that enters fibers.
  struct Scheduler {
    Context context;
#ifdef SIMT_ASAN
    void* fake_stack = nullptr;
    const void* stack = nullptr;
    size_t bytes = 0;
#endif
#ifdef SIMT_TSAN
    void* tsan = nullptr;
#endif
  };

class Fiber {
 public:
  static constexpr size_t STACK = 64 << 10;

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  ~Fiber() {
#ifdef SIMT_TSAN
    if (tsan_) __tsan_destroy_fiber(tsan_);
#endif
  }

  bool started() const { return bool(stack_); }
  // The function must not return.
  void start(void (*entry)()) {
    stack_.reset(static_cast<char*>(std::malloc(STACK)));
#ifdef SIMT_TSAN
    tsan_ = __tsan_create_fiber(0);
#endif
    prepare(context_, stack_.get(), STACK, entry);
  }

  // From the scheduler: runs the fiber until it leaves.
  void enter() {
#ifdef SIMT_ASAN
    __sanitizer_start_switch_fiber(&scheduler_.fake_stack, stack_.get(), STACK);
#endif
#ifdef SIMT_TSAN
    scheduler_.tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
#endif
    switch_context(scheduler_.context, context_);
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(scheduler_.fake_stack, nullptr, nullptr);
#endif
  }

  // In the fiber: the first thing its function does.
  static void entered() {
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_.stack, &scheduler_.bytes);
#endif
  }

  // In the fiber: back to the scheduler, until it is entered again.
  void leave() {
#ifdef SIMT_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, scheduler_.stack, scheduler_.bytes);
#endif
#ifdef SIMT_TSAN
    __tsan_switch_to_fiber(scheduler_.tsan, __tsan_switch_to_fiber_no_sync);
#endif
    switch_context(context_, scheduler_.context);
#ifdef SIMT_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_.stack, &scheduler_.bytes);
#endif
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  static inline Scheduler scheduler_;
  Context context_;
  std::unique_ptr<char, Free> stack_;
#ifdef SIMT_ASAN
  void* fake_stack_ = nullptr;
#endif
#ifdef SIMT_TSAN
  void* tsan_ = nullptr;
#endif
};

}  // namespace simt
