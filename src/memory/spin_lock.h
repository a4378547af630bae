// A lock for what is held for some tens of nanoseconds and almost never wanted by two: half the
// price of std::mutex, because letting go is a plain store. Who finds it taken lets others run.
#pragma once

#include <atomic>

#include "mete/atomic.h"

namespace mete {

class SpinLock {
 public:
  void lock() noexcept {
    while (taken_.exchange(true, std::memory_order_acquire)) {
      while (taken_.load(std::memory_order_relaxed)) detail::Yield();
    }
  }
  void unlock() noexcept { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

}  // namespace mete
