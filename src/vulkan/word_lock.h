// A mutex of one word that sleeps: for what may be held while a driver works, and mostly is not.
// Two atomic operations where nobody waits, without a call; std::mutex takes two calls.
//
// The word: 0 free, 1 taken, 2 taken and somebody sleeps.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/futex.h"

namespace mete {

class WordLock {
 public:
  void lock() noexcept {
    std::uint32_t free = 0;
    if (word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) [[likely]] {
      return;
    }
    while (word_.exchange(2, std::memory_order_acquire) != 0) FutexWait(word_, 2);
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) [[unlikely]] {
      FutexWakeOne(word_);
    }
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace mete
