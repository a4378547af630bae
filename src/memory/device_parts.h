// The inside of a DeviceBudgetManager.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "memory/warning_list.h"
#include "mete/device_budget_manager.h"

namespace mete {

inline constexpr std::array<const char*, kDeviceKinds> kDeviceKindNames = {"buffers", "images",
                                                                           "staging", "shared"};

// One call into the allocator, on the stack of its thread: what the gate has to say to whoever made
// the call, since the allocator passes none of it on. Calls nest: a mover may allocate.
struct DeviceBudgetManager::Call {
  explicit Call(const DeviceBudgetManager& manager) noexcept : of(&manager), outer(t_newest) {
    t_newest = this;
  }
  ~Call() { t_newest = outer; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  static Call* Newest(const DeviceBudgetManager& manager) noexcept {
    return t_newest != nullptr && t_newest->of == &manager ? t_newest : nullptr;
  }

  const DeviceBudgetManager* of;
  Call* outer;
  Refusal refusal{};
  bool edges = false;

 private:
  inline static constinit thread_local Call* t_newest = nullptr;
};

struct DeviceBudgetManager::Parts {
  struct Heap {
    std::string name;
    std::unique_ptr<SharedBudget> budget;
    std::int64_t own_limit = kNoLimit;     // the program's
    std::int64_t driver_limit = kNoLimit;  // what the driver leaves
    DriverHeapBudget driver;
  };
  std::array<Heap, kMaxMemoryHeaps> heaps;
  std::array<std::unique_ptr<SharedBudget>, kDeviceKinds> kinds;

  std::mutex limits_lock;  // of the limits and figures in heaps; taken before those of budgets
  std::int64_t driver_asked = 0;
  std::optional<std::chrono::steady_clock::time_point> driver_answered;

  std::mutex owners_lock;  // of adding; the list is read without, owners stay until the end
  std::atomic<DeviceOwner*> owners{nullptr};
  std::vector<std::unique_ptr<DeviceOwner>> owned;
  DeviceOwner* self = nullptr;
  Thresholds thresholds;

  WarningList warnings;
  std::function<bool(const EvictionRequest&)> evict;
  std::function<void(const std::vector<MemoryLeak>&)> leaked;

  // Ever; frames are differences.
  std::atomic<std::int64_t> created{0};
  std::atomic<std::int64_t> created_bytes{0};
  std::atomic<std::int64_t> freed_bytes{0};
  std::atomic<std::int64_t> refusals{0};
  std::atomic<std::int64_t> evictions{0};

  mutable std::mutex frame_lock;  // of what follows
  std::uint64_t frame = 1;
  std::int64_t created_before = 0;
  std::int64_t created_bytes_before = 0;
  std::int64_t freed_bytes_before = 0;
  std::int64_t peak_before = 0;  // of the device, in frames that have ended

  std::mutex poll_lock;
  std::condition_variable_any poll_end;
  std::jthread poller;  // ends before what it uses

  void StartPolling(DeviceBudgetManager& manager, std::chrono::milliseconds every);
  DeviceFrame Frame(const Budget& device) const noexcept;
};

}  // namespace mete
