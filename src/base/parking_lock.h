// A mutex of four bytes, so that each of a hundred thousand accounts can have one: free, taken, or
// taken with others parked behind it (U. Drepper, "Futexes are tricky", 2011, the second mutex
// there). Two atomic operations where nobody waits, without a call.
//
// It does not spin: what it guards is on cache lines that two processors would only pass to and
// fro. One that parks lets the other work undisturbed for a while, which here is several times as
// fast.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/futex.h"

namespace mete {

class ParkingLock {
 public:
  void lock() noexcept {
    std::uint32_t state = kFree;
    if (!state_.compare_exchange_strong(state, kTaken, std::memory_order_acquire)) [[unlikely]] {
      LockSlow();
    }
  }
  void unlock() noexcept {
    if (state_.exchange(kFree, std::memory_order_release) == kParked) [[unlikely]] {
      FutexWakeOne(state_);
    }
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kTaken = 1;
  static constexpr std::uint32_t kParked = 2;

  void LockSlow() noexcept {
    while (state_.exchange(kParked, std::memory_order_acquire) != kFree) {
      FutexWait(state_, kParked);
    }
  }

  std::atomic<std::uint32_t> state_{kFree};
};

}  // namespace mete
