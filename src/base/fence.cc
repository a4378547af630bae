#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mete/atomic.h"

namespace mete::detail {
namespace {

// Registration is required before the expedited command (membarrier(2)); a kernel or a system call
// filter without it answers an error, and both sides then use full fences.
bool RegisterMembarrier() noexcept {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace

const bool g_asymmetric_fences = RegisterMembarrier();

void HeavyFence() noexcept {
  if (g_asymmetric_fences) {
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Yield() noexcept { sched_yield(); }

}  // namespace mete::detail
