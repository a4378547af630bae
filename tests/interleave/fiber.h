// A thread of control with a stack of its own, switched to and from by hand: the interleaving
// checker runs a million executions, and a system call for each switch would be most of its time.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace mete::interleave {

class Fiber {
 public:
  // The fiber of the program itself: has the stack it runs on.
  Fiber() = default;
  // A fiber that Start makes run `entry`, which must never return.
  explicit Fiber(void (*entry)());

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // From the beginning at the next switch, whatever it was in the middle of: nothing on its stack
  // is destroyed.
  void Start();

  // Leaves `from`, which is running, for `to`.
  static void Switch(Fiber& from, Fiber& to);

 private:
  static void Enter();

  void (*entry_)() = nullptr;
  std::unique_ptr<std::byte[]> stack_;
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_ = {};
#endif
  const void* stack_low_ = nullptr;  // for AddressSanitizer, like the rest
  std::size_t stack_size_ = 0;
  void* fake_stack_ = nullptr;
};

}  // namespace mete::interleave
