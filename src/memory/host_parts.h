// The inside of a HostBudgetManager.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/persistent_arena.h"
#include "memory/spin_lock.h"
#include "memory/warning_list.h"
#include "mete/host_budget_manager.h"

namespace mete {

struct HostBudgetManager::Parts {
  PersistentArena persistent;

  std::mutex owners_lock;  // of adding; the list is read without, owners stay until the end
  std::atomic<HostOwner*> owners{nullptr};
  std::vector<std::unique_ptr<HostOwner>> owned;
  HostOwner* self = nullptr;
  Thresholds thresholds;

  WarningList warnings;
  std::atomic<bool> fallbacks_high{false};
  int fallback_warning = 5;

  SpinLock deferred_lock;
  Deferred* oldest = nullptr;  // guarded by deferred_lock
  Deferred* newest = nullptr;
  std::atomic<std::int64_t> deferred{0};

  std::function<void(const std::vector<MemoryLeak>&)> leaked;
};

}  // namespace mete
