#include "fiber.h"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define METE_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define METE_FIBER_ASAN 1
#endif
#endif

#ifdef METE_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Keeps what a callee must preserve on the old stack and takes it from the new one.
asm(R"(
  .text
  .globl mete_fiber_switch
  .type mete_fiber_switch, @function
mete_fiber_switch:
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
  .size mete_fiber_switch, . - mete_fiber_switch
)");
extern "C" void mete_fiber_switch(void** old_top, void* new_top);
#endif

namespace mete::interleave {
namespace {

constexpr std::size_t kStackSize = 256 * 1024;  // an instrumented frame may be large

Fiber* g_left = nullptr;     // the fiber that was switched from
Fiber* g_entered = nullptr;  // the one that runs

}  // namespace

Fiber::Fiber(void (*entry)())
    : entry_(entry),
      stack_(std::make_unique<std::byte[]>(kStackSize)),
      stack_low_(stack_.get()),
      stack_size_(kStackSize) {
  Start();
}

void Fiber::Start() {
#ifdef METE_FIBER_ASAN
  __asan_unpoison_memory_region(stack_.get(), kStackSize);
  fake_stack_ = nullptr;
#endif
#if defined(__x86_64__)
  // Six registers and the address to return to; above it an empty slot, so that the stack is
  // aligned as after a call.
  auto* end = reinterpret_cast<void**>(stack_.get() + kStackSize);
  end = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(end) & ~std::uintptr_t{15});
  void** top = end - 8;
  for (int i = 0; i < 8; ++i) top[i] = nullptr;
  top[6] = reinterpret_cast<void*>(&Fiber::Enter);
  top_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackSize;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::Enter, 0);
#endif
}

void Fiber::Enter() {
#ifdef METE_FIBER_ASAN
  // Also learns where the stack is that the program itself runs on.
  __sanitizer_finish_switch_fiber(nullptr, &g_left->stack_low_, &g_left->stack_size_);
#endif
  g_entered->entry_();
}

void Fiber::Switch(Fiber& from, Fiber& to) {
  g_left = &from;
  g_entered = &to;
#ifdef METE_FIBER_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_low_, to.stack_size_);
#endif
#if defined(__x86_64__)
  mete_fiber_switch(&from.top_, to.top_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
#ifdef METE_FIBER_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack_, &g_left->stack_low_, &g_left->stack_size_);
#endif
}

}  // namespace mete::interleave
