// DeviceBudgetManager: all memory of a device under one budget, which is never passed by a byte.
//
//   device ─┬─ heap 0     the blocks that were taken from it, each with its exact size
//           └─ heap n
//   buffers, images, staging, shared    what is in use of that, by kind
//   one node per owner                  and by whom
//
// It is the gate of its allocator (memory_allocator.h): no block is taken that the device and its
// heap did not grant before. What is placed in blocks is charged to its kind and to its owner, as
// many bytes as it got.
//
// A heap's limit is the least of the heap's size, what the program sets, and what the driver says
// may be used. The driver is asked by a thread of its own, never by one that allocates.
//
// Before a request is refused, the program may evict something (DeviceOptions::evict).
//
// Warnings (budget_warning.h) name "device", "heap 0" and so on, "buffers", "images", "staging",
// "shared", or an owner.
//
// Thread safety: everything may be called from any thread, but for opening, ending, and what is
// marked REQUIRES. The hook and the callbacks run with no lock held, and may call anything here.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mete/budget.h"
#include "mete/budget_warning.h"
#include "mete/memory_allocator.h"
#include "mete/resource_consumer.h"
#include "mete/tracked_allocation.h"

namespace mete {

class DeviceBudgetManager;

enum class DeviceKind : std::uint8_t {
  kBuffer,
  kImage,
  kStaging,  // buffers through which data comes and goes
  kShared,   // memory in which several resources are placed
};
inline constexpr std::size_t kDeviceKinds = 4;

// A part of the program that has device memory under its own name and limit. Lives as long as its
// manager.
class DeviceOwner {
 public:
  DeviceOwner(std::string name, std::int64_t limit, Thresholds thresholds)
      : budget_(BudgetKind::kLevel, limit, nullptr, thresholds), name_(std::move(name)) {}

  const std::string& name() const noexcept { return name_; }
  SharedBudget& budget() noexcept { return budget_; }
  const SharedBudget& budget() const noexcept { return budget_; }
  std::int64_t live_count() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  friend class DeviceBudgetManager;
  SharedBudget budget_;
  std::atomic<std::int64_t> count_{0};
  DeviceOwner* next_ = nullptr;
  std::string name_;
};

// To whom a resource is charged; by default the owner "device".
struct DeviceAccount {
  DeviceOwner* owner = nullptr;
  bool staging = false;  // a buffer: of kind kStaging
};

// Why the program is asked to give something up.
struct EvictionRequest {
  DeviceError error;       // the answer that it would be otherwise
  std::int64_t bytes = 0;  // asked for
  int attempt = 0;         // how often this request has asked before
};

struct DeviceOptions {
  std::int64_t limit = kNoLimit;  // of all heaps together; 0 is a limit
  std::array<std::int64_t, kMaxMemoryHeaps> heap_limits = NoLimits<kMaxMemoryHeaps>();
  std::array<std::int64_t, kDeviceKinds> kind_limits = NoLimits<kDeviceKinds>();
  SharedBudget* parent = nullptr;  // where the device is part of something larger
  Thresholds thresholds;           // of every node

  // How often the driver is asked for its own budget: 100 ms or more. 0: by PollDriver alone.
  std::chrono::milliseconds driver_poll{250};

  // Called on the thread whose request would be refused, for lack of budget or of memory. True: it
  // has given something up, try again. Eight times at most; what it asks for itself asks no hook.
  std::function<bool(const EvictionRequest&)> evict;

  // Told at the end what is still allocated, if anything is; null: a line each on stderr.
  std::function<void(const std::vector<MemoryLeak>&)> leaked;

 private:
  template <std::size_t kCount>
  static constexpr std::array<std::int64_t, kCount> NoLimits() {
    std::array<std::int64_t, kCount> limits{};
    limits.fill(kNoLimit);
    return limits;
  }
};

template <class T>
concept DeviceResource =
    std::same_as<T, DeviceBuffer> || std::same_as<T, DeviceImage> || std::same_as<T, DeviceMemory>;

// A resource of the device whose memory and charge go with it: destroyed, freed and uncharged
// together, once. Move-only. REQUIRES: the device has done with it when it ends (a manager's Defer
// keeps it until then); ends before its manager, and after what was placed in it.
template <DeviceResource T>
class TrackedAllocation<T> {
 public:
  TrackedAllocation() noexcept = default;
  TrackedAllocation(TrackedAllocation&& other) noexcept
      : manager_(std::exchange(other.manager_, nullptr)),
        owner_(other.owner_),
        object_(other.object_),
        charged_(std::exchange(other.charged_, 0)),
        kind_(other.kind_) {}
  TrackedAllocation& operator=(TrackedAllocation&& other) noexcept {
    TrackedAllocation taken(std::move(other));
    Swap(taken);
    return *this;
  }
  ~TrackedAllocation() { Reset(); }

  // Destroys it and gives its memory back. Harmless when empty.
  void Reset() noexcept;

  const T& operator*() const noexcept { return object_; }
  const T* operator->() const noexcept { return &object_; }
  explicit operator bool() const noexcept { return manager_ != nullptr; }
  std::int64_t charged() const noexcept { return charged_; }  // 0 for what is placed in another's

  // After a move by IMemoryAllocator::Defragment: the resource that was placed anew stands in for
  // the one that the mover has destroyed.
  void Replace(BufferHandle buffer) noexcept
    requires std::same_as<T, DeviceBuffer>
  {
    object_.buffer = buffer;
  }
  void Replace(ImageHandle image) noexcept
    requires std::same_as<T, DeviceImage>
  {
    object_.image = image;
  }

 private:
  friend class DeviceBudgetManager;
  void Swap(TrackedAllocation& other) noexcept {
    std::swap(manager_, other.manager_);
    std::swap(owner_, other.owner_);
    std::swap(object_, other.object_);
    std::swap(charged_, other.charged_);
    std::swap(kind_, other.kind_);
  }

  DeviceBudgetManager* manager_ = nullptr;
  DeviceOwner* owner_ = nullptr;
  T object_;
  std::int64_t charged_ = 0;
  DeviceKind kind_ = DeviceKind::kBuffer;
};

using TrackedBuffer = TrackedAllocation<DeviceBuffer>;
using TrackedImage = TrackedAllocation<DeviceImage>;
using TrackedMemory = TrackedAllocation<DeviceMemory>;

// Of one frame: gross and net. A frame that allocates and frees as much shows both.
struct DeviceFrame {
  std::uint64_t frame = 0;  // the first is 1
  std::int64_t created = 0;
  std::int64_t created_bytes = 0;
  std::int64_t freed_bytes = 0;
  std::int64_t net_bytes = 0;         // created - freed
  std::int64_t peak_block_bytes = 0;  // the most that the heaps had given at any time in it
};

struct DeviceHeapUsage {
  BudgetSnapshot blocks;
  std::int64_t bytes = 0;  // the heap's size
  bool device_local = false;
  HeapStatistics statistics;  // the allocator's own count
  DriverHeapBudget driver;    // as it said; zeros where it was not asked or has no answer
};

struct DeviceOwnerUsage {
  std::string name;
  std::int64_t count = 0;
  BudgetSnapshot usage;
};

struct DeviceSnapshot {
  BudgetSnapshot device;  // peak: of all frames
  std::vector<DeviceHeapUsage> heaps;
  std::array<BudgetSnapshot, kDeviceKinds> kinds;  // by DeviceKind
  std::vector<DeviceOwnerUsage> owners;
  DeviceFrame frame;                         // the running one
  std::int64_t refusals = 0;                 // requests that were refused, ever
  std::int64_t evictions = 0;                // hooks that gave something up, ever
  std::int64_t driver_asked = 0;             // how often
  std::chrono::milliseconds driver_age{-1};  // since it last answered; -1: never

  std::string Text() const;      // some lines for people
  std::string Json() const;      // one object, one line
  std::string BenchRow() const;  // "name=value ...", one line
};

class DeviceBudgetManager final : private MemoryGate {
 public:
  // Takes the allocator over. E2071 for options that make no sense; E2076 and E2080 as Attach;
  // E2099 where the system does not grant what it needs itself.
  static Result<std::unique_ptr<DeviceBudgetManager>> Open(
      std::unique_ptr<IMemoryAllocator> allocator, const DeviceOptions& options);

  // Reports what is left; the allocator then stays, since it cannot end under resources in use.
  // REQUIRES: nobody uses it, and no resource outlives it.
  ~DeviceBudgetManager();
  DeviceBudgetManager(const DeviceBudgetManager&) = delete;
  DeviceBudgetManager& operator=(const DeviceBudgetManager&) = delete;

  // As IMemoryAllocator's, charged. After a refusal nothing has changed: kBudget says which node
  // refused.
  [[nodiscard]] DeviceResult<TrackedBuffer> CreateBuffer(const BufferDescription& description,
                                                         const MemoryRequest& request = {},
                                                         const DeviceAccount& account = {});
  [[nodiscard]] DeviceResult<TrackedImage> CreateImage(const ImageDescription& description,
                                                       const MemoryRequest& request = {},
                                                       const DeviceAccount& account = {});
  [[nodiscard]] DeviceResult<TrackedMemory> Allocate(const MemoryNeeds& needs,
                                                     const MemoryRequest& request = {},
                                                     const DeviceAccount& account = {});

  // Resources in memory that is charged already: charged once, freed once, however many there are.
  [[nodiscard]] DeviceResult<TrackedBuffer> PlaceBuffer(const TrackedMemory& memory,
                                                        std::int64_t offset,
                                                        const BufferDescription& description);
  [[nodiscard]] DeviceResult<TrackedImage> PlaceImage(const TrackedMemory& memory,
                                                      std::int64_t offset,
                                                      const ImageDescription& description);

  // The owner of that name, made at the first call with that limit; E2071 for an empty name, E2099
  // where there is no memory for it.
  Result<DeviceOwner*> Owner(std::string_view name, std::int64_t limit = kNoLimit);

  // The program's own limit of a heap: for blocks that are taken after it returns.
  // REQUIRES: a heap that there is; 0 <= limit.
  void SetHeapLimit(std::uint32_t heap, std::int64_t limit) noexcept;

  // Asks the driver for its budget and sets the limits of the heaps by it. kUnsupported where it
  // has none. Takes up to milliseconds: not on a thread that allocates.
  DeviceResult<void> PollDriver() noexcept;

  // Ends the frame and says what was in it; warnings are delivered.
  DeviceFrame BeginFrame() noexcept;

  // Throws std::bad_alloc as making the callback does, and has then changed nothing.
  [[nodiscard]] WarningSubscription Subscribe(std::function<void(const BudgetWarning&)> callback);

  // Delivers edges that a change of a limit has raised: SetLimit of a node does not.
  void DeliverWarnings() noexcept;

  DeviceSnapshot snapshot() const;
  std::vector<MemoryLeak> leaks() const;  // what would be reported, if all ended now

  // For everything that allocates nothing: mapping, pools, statistics, defragmentation. What is
  // allocated past the manager is held to the heaps' limits too, and has no kind and no owner.
  IMemoryAllocator& allocator() noexcept { return *allocator_; }
  SharedBudget& budget() noexcept { return device_; }
  SharedBudget& kind_budget(DeviceKind kind) noexcept;
  const SharedBudget& heap_budget(std::uint32_t heap) const noexcept;

 private:
  template <class T>
  friend class TrackedAllocation;
  struct Parts;
  struct Call;
  class Charge;

  DeviceBudgetManager(std::unique_ptr<IMemoryAllocator> allocator, const DeviceOptions& options);

  bool TryTake(std::uint32_t heap, std::int64_t bytes) noexcept override;
  void Returned(std::uint32_t heap, std::int64_t bytes) noexcept override;

  template <DeviceResource T, class Make>
  DeviceResult<TrackedAllocation<T>> Create(DeviceKind kind, DeviceOwner* owner,
                                            std::int64_t expected, Make make);
  template <DeviceResource T, class Make>
  DeviceResult<TrackedAllocation<T>> TryCreate(Call& call, DeviceKind kind, DeviceOwner* owner,
                                               std::int64_t expected, Make make);
  template <DeviceResource T>
  TrackedAllocation<T> Track(const T& object, DeviceKind kind, DeviceOwner* owner,
                             std::int64_t charged) noexcept;
  template <DeviceResource T>
  void End(const TrackedAllocation<T>& ended) noexcept;
  bool Evict(const DeviceError& error, int attempt);
  void ApplyHeapLimit(std::uint32_t heap) noexcept;

  SharedBudget device_;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<IMemoryAllocator> allocator_;  // ends first: it has this for its gate
};

extern template class TrackedAllocation<DeviceBuffer>;
extern template class TrackedAllocation<DeviceImage>;
extern template class TrackedAllocation<DeviceMemory>;

}  // namespace mete
