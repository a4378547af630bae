// The atomics of the accounting core, named in one place so that the interleaving checker of the
// tests can compile the very same code over atomics that it schedules (tests/interleavings).
#pragma once

#ifdef METE_INTERLEAVE
#include "interleave/atomic.h"
#else

#include <atomic>
#include <mutex>

namespace mete::detail {

template <class T>
using Atomic = std::atomic<T>;
using Mutex = std::mutex;

// Whether HeavyFence() reaches every thread of the process (membarrier(2)); set before main.
extern const bool g_asymmetric_fences;

// A pair of fences that together order like two sequentially consistent ones, where the frequent
// side costs nothing: a compiler barrier against a system call.
inline void LightFence() noexcept {
  if (g_asymmetric_fences) [[likely]] {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}
void HeavyFence() noexcept;  // 0.1 us alone, some microseconds while other threads run
void Yield() noexcept;       // lets another thread run, while waiting for one that is mid-operation

}  // namespace mete::detail

#endif  // METE_INTERLEAVE
