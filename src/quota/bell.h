// Wakes the one thread that looks after a manager.
#pragma once

#include <condition_variable>
#include <mutex>

#include "mete/clock.h"

namespace mete {

class Bell {
 public:
  void Ring() {
    {
      const std::lock_guard lock(mutex_);
      if (rung_) return;
      rung_ = true;
    }
    condition_.notify_one();
  }

  // Until it rings, or the time is over. A ring that came before counts.
  void Wait(Duration timeout) {
    std::unique_lock lock(mutex_);
    condition_.wait_for(lock, timeout, [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rung_ = false;
};

}  // namespace mete
