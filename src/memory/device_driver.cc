// What the driver says of its heaps, and the limits that follow; frames.
//
// A driver tells per heap how much a process may use, and how much it does (VK_EXT_memory_budget,
// Vulkan 1.3). Both are known to be nonsense at times: 16 EiB (VMA issue 157), or usage of the
// whole machine where that of the process is meant (lavapipe). So:
//
//   budget  none, or more than the heap has: the heap's size
//   usage   more than the heap has: unknown. Otherwise what exceeds our own blocks is somebody
//           else's, which we cannot have: the program's other APIs, the driver, other processes
//   limit = budget - what is somebody else's, at least 0
#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "memory/device_parts.h"

namespace mete {

using std::memory_order_relaxed;

namespace {

std::int64_t LimitFrom(const DriverHeapBudget& driver, std::int64_t heap_bytes,
                       std::int64_t ours) noexcept {
  const auto most = static_cast<std::uint64_t>(heap_bytes);
  const auto budget = driver.budget == 0 || driver.budget > most
                          ? heap_bytes
                          : static_cast<std::int64_t>(driver.budget);
  if (driver.usage > most) return budget;
  const std::int64_t others =
      std::max<std::int64_t>(static_cast<std::int64_t>(driver.usage) - ours, 0);
  return std::max<std::int64_t>(budget - others, 0);
}

}  // namespace

void DeviceBudgetManager::Parts::StartPolling(DeviceBudgetManager& manager,
                                              std::chrono::milliseconds every) {
  poller = std::jthread([this, &manager, every](const std::stop_token& stop) {
    std::unique_lock lock(poll_lock);
    while (!stop.stop_requested()) {
      lock.unlock();
      std::ignore = manager.PollDriver();
      lock.lock();
      poll_end.wait_for(lock, stop, every, [] { return false; });
    }
  });
}

// REQUIRES: limits_lock is held, or nobody else is there yet.
void DeviceBudgetManager::ApplyHeapLimit(std::uint32_t heap) noexcept {
  Parts::Heap& of = parts_->heaps[heap];
  of.budget->SetLimit(
      std::min({of.own_limit, of.driver_limit, allocator_->layout().heaps[heap].bytes}));
}

void DeviceBudgetManager::SetHeapLimit(std::uint32_t heap, std::int64_t limit) noexcept {
  METE_CHECK(heap < allocator_->layout().heap_count && limit >= 0);
  {
    const std::lock_guard lock(parts_->limits_lock);
    parts_->heaps[heap].own_limit = limit;
    ApplyHeapLimit(heap);
  }
  DeliverWarnings();
}

DeviceResult<void> DeviceBudgetManager::PollDriver() noexcept {
  const auto answer = allocator_->QueryDriverBudget();
  {
    const std::lock_guard lock(parts_->limits_lock);
    ++parts_->driver_asked;
    if (!answer) return std::unexpected(answer.error());
    parts_->driver_answered = std::chrono::steady_clock::now();
    for (std::uint32_t heap = 0; heap < allocator_->layout().heap_count; ++heap) {
      Parts::Heap& of = parts_->heaps[heap];
      of.driver = (*answer)[heap];
      of.driver_limit =
          LimitFrom(of.driver, allocator_->layout().heaps[heap].bytes, of.budget->used());
      ApplyHeapLimit(heap);
    }
  }
  DeliverWarnings();
  return {};
}

// REQUIRES: frame_lock is held.
DeviceFrame DeviceBudgetManager::Parts::Frame(const Budget& device) const noexcept {
  DeviceFrame shown{.frame = frame};
  shown.created = created.load(memory_order_relaxed) - created_before;
  shown.freed_bytes = freed_bytes.load(memory_order_relaxed) - freed_bytes_before;
  shown.created_bytes = created_bytes.load(memory_order_relaxed) - created_bytes_before;
  shown.net_bytes = shown.created_bytes - shown.freed_bytes;
  shown.peak_block_bytes = device.peak();
  return shown;
}

DeviceFrame DeviceBudgetManager::BeginFrame() noexcept {
  DeviceFrame ended;
  {
    Parts& parts = *parts_;
    const std::lock_guard lock(parts.frame_lock);
    ended = parts.Frame(device_);
    parts.peak_before = std::max(parts.peak_before, ended.peak_block_bytes);
    device_.ResetPeak();
    parts.created_before += ended.created;
    parts.created_bytes_before += ended.created_bytes;
    parts.freed_bytes_before += ended.freed_bytes;
    ++parts.frame;
  }
  DeliverWarnings();
  return ended;
}

}  // namespace mete
