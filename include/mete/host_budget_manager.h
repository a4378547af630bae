// HostBudgetManager: all memory of a program's host side under one budget.
//
//   host ─┬─ frames      what the frame arenas have committed
//         ├─ persistent  what the persistent arena has committed
//         └─ heap ─┬─ frame overflow
//                  └─ one node per owner
//
// It composes; the parts can be had alone: FrameArena, and Budget for the nodes.
//
// Warnings (budget_warning.h) name "host", "frames", "persistent", "heap", or an owner.
//
// Thread safety: everything may be called from any thread, but for opening, ending, and what is
// marked REQUIRES. In the loop of a program that has warmed up nothing here calls malloc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <memory_resource>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mete/budget.h"
#include "mete/budget_warning.h"
#include "mete/frame_arena.h"
#include "mete/host_memory.h"
#include "mete/resource_consumer.h"

namespace mete {

class HostBudgetManager;

struct HostOptions {
  std::int64_t limit = kNoLimit;  // of all of it; 0 is a limit
  std::int64_t frames_limit = kNoLimit;
  std::int64_t persistent_limit = kNoLimit;
  std::int64_t heap_limit = kNoLimit;
  SharedBudget* parent = nullptr;  // where the host is part of something larger
  Thresholds thresholds;           // of every node
  FrameOptions frames;
  std::size_t persistent_ready = std::size_t{1} << 20;
  std::size_t persistent_reserve = std::size_t{256} << 20;
  int fallback_warning = 5;      // per cent of a window's requests that the heap served
  HostMemory* memory = nullptr;  // null: the system's
  // Told at the end what is still allocated, if anything is; null: a line each on stderr.
  std::function<void(const std::vector<MemoryLeak>&)> leaked;
};

// A part of the program that has memory under its own name and limit. Lives as long as its manager.
class HostOwner final : public IResourceConsumer, private AllocationSource {
 public:
  HostOwner(HostBudgetManager& manager, std::string name, std::int64_t limit, SharedBudget& heap,
            Thresholds thresholds);
  ~HostOwner() = default;

  // Frame memory is charged to the frames, persistent memory to the arena, heap blocks to this
  // owner: as many bytes as asked for. Where the persistent arena cannot serve, the heap does.
  [[nodiscard]] Allocated<Allocation> RequestAllocation(std::size_t size, std::size_t alignment,
                                                        AllocationScope scope) noexcept override;

  const std::string& name() const noexcept { return name_; }
  SharedBudget& budget() noexcept { return budget_; }
  const SharedBudget& budget() const noexcept { return budget_; }

  // Alive now, persistent and heap together.
  std::int64_t live_count() const noexcept { return count_.load(std::memory_order_relaxed); }
  std::int64_t live_bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

 private:
  friend class HostBudgetManager;
  friend class OwnerResource;
  void* TakeHeap(std::size_t size, std::size_t alignment, AllocationRefusal& refusal) noexcept;
  void Free(void* data, std::size_t size, std::size_t alignment, Backing backing) noexcept override;
  void CountLive(std::int64_t blocks, std::int64_t bytes) noexcept;

  HostBudgetManager* manager_;
  std::string name_;
  SharedBudget budget_;
  std::atomic<std::int64_t> count_{0};
  std::atomic<std::int64_t> bytes_{0};
  HostOwner* next_ = nullptr;
};

struct HostOwnerUsage {
  std::string name;
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  BudgetSnapshot heap;
};

// What operator new has handed out besides mete, where mete::new_hook is linked.
struct UntrackedMemory {
  bool counted = false;
  std::int64_t allocations = 0;  // ever
  std::int64_t live = 0;
  std::int64_t live_bytes = 0;
};
UntrackedMemory CountUntracked() noexcept;

struct HostSnapshot {
  BudgetSnapshot host, frames, persistent, heap;
  FrameStatistics frame;
  std::size_t persistent_committed = 0;
  std::int64_t deferred = 0;  // objects waiting for their frame to retire
  std::vector<HostOwnerUsage> owners;
  UntrackedMemory untracked;

  std::string Text() const;      // some lines for people
  std::string Json() const;      // one object, one line
  std::string BenchRow() const;  // "name=value ...", one line
};

class HostBudgetManager final : public IResourceConsumer {
 public:
  // E2071 for options that make no sense; E2072 where the limits do not grant what is to be ready;
  // E2099 where the system does not.
  static Result<std::unique_ptr<HostBudgetManager>> Open(const HostOptions& options);

  // Destroys what waits, then the frames' objects; reports what is left. REQUIRES: nobody uses it,
  // and no handle outlives it.
  ~HostBudgetManager();
  HostBudgetManager(const HostBudgetManager&) = delete;
  HostBudgetManager& operator=(const HostBudgetManager&) = delete;

  // For the owner "host".
  [[nodiscard]] Allocated<Allocation> RequestAllocation(std::size_t size, std::size_t alignment,
                                                        AllocationScope scope) noexcept override;

  // As FrameArena's.
  template <class T>
  [[nodiscard]] Allocated<StackResource<T>> RequestStackResource(
      std::size_t count = 1, Initialize initialize = Initialize::kValue) {
    return frames_->RequestStackResource<T>(count, initialize);
  }

  // Ends the frame: objects deferred frames_in_flight ago are destroyed, oldest first, then the
  // retiring frame's; warnings are delivered. REQUIRES: as FrameArena::BeginFrame.
  void BeginFrame() noexcept;

  // Keeps an object until the running frame retires, for what a device may still be using. Refused
  // where there is no memory for it; the object is then untouched.
  template <class T>
  [[nodiscard]] Allocated<void> Defer(T&& object);

  // The owner of that name, made at the first call with that limit; E2071 for an empty name, E2099
  // where there is no memory for it.
  Result<HostOwner*> Owner(std::string_view name, std::int64_t limit = kNoLimit);

  // The callback is called until the subscription ends. Throws std::bad_alloc as making the
  // callback does, and has then changed nothing.
  [[nodiscard]] WarningSubscription Subscribe(std::function<void(const BudgetWarning&)> callback);

  // Delivers edges that a change of a limit has raised: SetLimit of a node does not.
  void DeliverWarnings() noexcept;

  HostSnapshot snapshot() const;
  std::vector<MemoryLeak> leaks() const;  // what would be reported, if all ended now

  FrameArena& frames() noexcept { return *frames_; }
  SharedBudget& budget() noexcept { return host_; }
  SharedBudget& frames_budget() noexcept { return frames_budget_; }
  SharedBudget& persistent_budget() noexcept { return persistent_budget_; }
  SharedBudget& heap_budget() noexcept { return heap_budget_; }

 private:
  friend class HostOwner;
  struct Parts;
  struct Deferred {
    Deferred* newer = nullptr;
    std::uint64_t frame = 0;
    void (*end)(Deferred*) noexcept = nullptr;
    Allocation memory;
  };

  explicit HostBudgetManager(const HostOptions& options);
  std::optional<Error> OpenParts(const HostOptions& options);
  void PushDeferred(Deferred* deferred) noexcept;
  void EndDeferred(std::uint64_t until) noexcept;
  bool TellFallbackRatio() noexcept;
  static void EdgesRaised(void* self);

  HostMemory* memory_;
  SharedBudget host_;
  SharedBudget frames_budget_;
  SharedBudget persistent_budget_;
  SharedBudget heap_budget_;
  SharedBudget overflow_budget_;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<FrameArena> frames_;
};

// Heap blocks of an owner for standard containers; throws std::bad_alloc on refusal.
class OwnerResource final : public std::pmr::memory_resource {
 public:
  explicit OwnerResource(HostOwner& owner) noexcept : owner_(&owner) {}

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) noexcept override;
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    const auto* same = dynamic_cast<const OwnerResource*>(&other);
    return same != nullptr && same->owner_ == owner_;
  }

  HostOwner* owner_;
};

template <class T>
Allocated<void> HostBudgetManager::Defer(T&& object) {
  using Object = std::remove_cvref_t<T>;
  struct Holder : Deferred {
    explicit Holder(T&& given) : object(std::forward<T>(given)) {}
    Object object;
  };
  auto memory = RequestAllocation(sizeof(Holder), alignof(Holder), AllocationScope::kPersistent);
  if (!memory) return std::unexpected(memory.error());
  auto* const holder = ::new (memory->data()) Holder(std::forward<T>(object));
  holder->end = [](Deferred* deferred) noexcept {
    Allocation last = std::move(deferred->memory);
    static_cast<Holder*>(deferred)->~Holder();
  };
  holder->memory = std::move(*memory);
  PushDeferred(holder);
  return {};
}

}  // namespace mete
