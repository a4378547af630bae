#include "mete/device_budget_manager.h"

#include <algorithm>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "memory/device_parts.h"
#include "memory/leaks.h"
#include "memory/no_memory.h"

namespace mete {

using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using Reason = DeviceError::Reason;

namespace {

constexpr int kMostEvictions = 8;  // of one request, lest two programs evict each other for ever

// Whose hook the thread is in: what a hook asks for itself asks no hook.
constinit thread_local const DeviceBudgetManager* t_evicting = nullptr;

std::string CheckOptions(const DeviceOptions& options) {
  if (options.limit < 0) return "limit: 0 or more: " + std::to_string(options.limit);
  for (const std::int64_t limit : options.heap_limits) {
    if (limit < 0) return "heap_limits: 0 or more: " + std::to_string(limit);
  }
  for (const std::int64_t limit : options.kind_limits) {
    if (limit < 0) return "kind_limits: 0 or more: " + std::to_string(limit);
  }
  if (options.parent != nullptr && options.parent->kind() != BudgetKind::kLevel) {
    return "parent: must be a level, not a flow";
  }
  const auto poll = options.driver_poll.count();
  if (poll != 0 && poll < 100) return "driver_poll: 0, or 100 ms or more: " + std::to_string(poll);
  return {};
}

DeviceError BudgetError(std::int64_t bytes, const Refusal& refusal) noexcept {
  return {.reason = Reason::kBudget, .bytes = bytes, .budget = refusal};
}

void DestroyIn(IMemoryAllocator& allocator, const DeviceBuffer& buffer) noexcept {
  allocator.Destroy(buffer);
}
void DestroyIn(IMemoryAllocator& allocator, const DeviceImage& image) noexcept {
  allocator.Destroy(image);
}
void DestroyIn(IMemoryAllocator& allocator, const DeviceMemory& memory) noexcept {
  allocator.Free(memory.memory);
}

}  // namespace

DeviceBudgetManager::DeviceBudgetManager(std::unique_ptr<IMemoryAllocator> allocator,
                                         const DeviceOptions& options)
    : device_(BudgetKind::kLevel, options.limit, options.parent, options.thresholds),
      parts_(std::make_unique<Parts>()),
      allocator_(std::move(allocator)) {
  Parts& parts = *parts_;
  parts.thresholds = options.thresholds;
  parts.evict = options.evict;
  parts.leaked = options.leaked ? options.leaked : PrintLeaks;
  for (std::uint32_t heap = 0; heap < allocator_->layout().heap_count; ++heap) {
    parts.heaps[heap].name = "heap " + std::to_string(heap);
    parts.heaps[heap].own_limit = options.heap_limits[heap];
    parts.heaps[heap].budget =
        std::make_unique<SharedBudget>(BudgetKind::kLevel, kNoLimit, &device_, options.thresholds);
    ApplyHeapLimit(heap);
  }
  for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
    parts.kinds[kind] = std::make_unique<SharedBudget>(
        BudgetKind::kLevel, options.kind_limits[kind], nullptr, options.thresholds);
  }
}

Result<std::unique_ptr<DeviceBudgetManager>> DeviceBudgetManager::Open(
    std::unique_ptr<IMemoryAllocator> allocator, const DeviceOptions& options) {
  if (std::string bad = CheckOptions(options); !bad.empty()) {
    return Fail(ErrorCode::kInvalidArgument, std::move(bad));
  }
  if (allocator == nullptr) return Fail(ErrorCode::kInvalidArgument, "allocator: null");
  try {
    std::unique_ptr<DeviceBudgetManager> manager(
        new DeviceBudgetManager(std::move(allocator), options));
    auto self = manager->Owner("device");
    if (!self) return std::unexpected(self.error());
    manager->parts_->self = *self;
    if (auto attached = manager->allocator_->Attach(*manager); !attached) {
      return std::unexpected(attached.error());
    }
    if (options.driver_poll.count() > 0 && manager->allocator_->layout().has_driver_budget) {
      manager->parts_->StartPolling(*manager, options.driver_poll);
    }
    return manager;
  } catch (const std::bad_alloc&) {
    return std::unexpected(NoMemoryForTables());
  } catch (const std::system_error&) {
    return Fail(ErrorCode::kSystem, "driver_poll: the system starts no thread");
  }
}

DeviceBudgetManager::~DeviceBudgetManager() {
  parts_->poller = {};
  const std::vector<MemoryLeak> left = leaks();
  if (left.empty()) return;
  parts_->leaked(left);
  [[maybe_unused]] const IMemoryAllocator* const stays = allocator_.release();
}

bool DeviceBudgetManager::TryTake(std::uint32_t heap, std::int64_t bytes) noexcept {
  const Charged charged = parts_->heaps[heap].budget->TryCharge(bytes);
  Call* const call = Call::Newest(*this);
  if (!charged) {
    if (call != nullptr) call->refusal = charged.error();
    return false;
  }
  if (charged->edges && call != nullptr) call->edges = true;
  return true;
}

void DeviceBudgetManager::Returned(std::uint32_t heap, std::int64_t bytes) noexcept {
  parts_->heaps[heap].budget->Uncharge(bytes);
}

// One resource on its kind and its owner. Where there is a limit, what is expected is set aside
// before memory is taken, so that threads that race are refused before they have, and the rest when
// it is known. A refusal leaves no trace, not even a peak: what is set aside is not used.
class DeviceBudgetManager::Charge {
 public:
  Charge(SharedBudget& kind, SharedBudget& owner) noexcept : budgets_{&kind, &owner} {
    for (std::size_t i = 0; i < kBudgets; ++i) limited_[i] = budgets_[i]->limit() != kNoLimit;
    if (limited_[0] || limited_[1]) holds_.emplace();
  }

  bool Reserve(std::int64_t bytes, DeviceError& error) noexcept {
    return !holds_ || SetAside(holds_->expected, bytes, error);
  }

  // Of the memory that was taken; refused, it has to go back.
  bool Settle(std::int64_t expected, std::int64_t bytes, Call& call, DeviceError& error) noexcept {
    if (holds_ && bytes > expected && !SetAside(holds_->rest, bytes - expected, error)) {
      return false;
    }
    for (std::size_t i = 0; i < kBudgets; ++i) {
      if (limited_[i]) continue;
      const Charged charged = budgets_[i]->TryCharge(bytes);
      if (!charged) {  // a limit was set meanwhile
        if (i > 0 && !limited_[0]) budgets_[0]->Uncharge(bytes);
        error = BudgetError(bytes, charged.error());
        return false;
      }
      call.edges = call.edges || charged->edges;
    }
    for (std::size_t i = 0; holds_ && i < kBudgets; ++i) {
      if (!limited_[i]) continue;
      Hold& rest = holds_->rest[i];
      const Charged charged = holds_->expected[i].Settle(std::min(bytes, expected));
      const Charged more = rest ? rest.Settle(bytes - expected) : Charged();
      METE_CHECK(charged && more);
      call.edges = call.edges || charged->edges || more->edges;
    }
    return true;
  }

 private:
  static constexpr std::size_t kBudgets = 2;
  struct Holds {
    std::array<Hold, kBudgets> expected;
    std::array<Hold, kBudgets> rest;
  };

  bool SetAside(std::array<Hold, kBudgets>& holds, std::int64_t bytes,
                DeviceError& error) noexcept {
    for (std::size_t i = 0; i < kBudgets; ++i) {
      if (!limited_[i]) continue;
      auto held = budgets_[i]->Reserve(bytes);
      if (!held) {
        error = BudgetError(bytes, held.error());
        return false;
      }
      holds[i] = std::move(*held);
    }
    return true;
  }

  std::array<SharedBudget*, kBudgets> budgets_;
  std::array<bool, kBudgets> limited_{};
  std::optional<Holds> holds_;
};

template <DeviceResource T>
TrackedAllocation<T> DeviceBudgetManager::Track(const T& object, DeviceKind kind,
                                                DeviceOwner* owner, std::int64_t charged) noexcept {
  TrackedAllocation<T> tracked;
  tracked.manager_ = this;
  tracked.owner_ = owner;
  tracked.object_ = object;
  tracked.charged_ = charged;
  tracked.kind_ = kind;
  owner->count_.fetch_add(1, memory_order_relaxed);
  parts_->created.fetch_add(1, memory_order_relaxed);
  parts_->created_bytes.fetch_add(charged, memory_order_relaxed);
  return tracked;
}

template <DeviceResource T>
void DeviceBudgetManager::End(const TrackedAllocation<T>& ended) noexcept {
  DestroyIn(*allocator_, ended.object_);
  if (ended.charged_ > 0) {
    ended.owner_->budget_.Uncharge(ended.charged_);
    kind_budget(ended.kind_).Uncharge(ended.charged_);
  }
  parts_->freed_bytes.fetch_add(ended.charged_, memory_order_relaxed);
  ended.owner_->count_.fetch_sub(1, memory_order_relaxed);
}

template <DeviceResource T, class Make>
DeviceResult<TrackedAllocation<T>> DeviceBudgetManager::TryCreate(Call& call, DeviceKind kind,
                                                                  DeviceOwner* owner,
                                                                  std::int64_t expected,
                                                                  Make make) {
  DeviceError error;
  Charge charge(kind_budget(kind), owner->budget_);
  if (!charge.Reserve(expected, error)) return std::unexpected(error);
  const auto made = make(*allocator_);
  if (!made) {
    error = made.error();
    if (error.reason == Reason::kBudget) error.budget = call.refusal;
    return std::unexpected(error);
  }
  if (!charge.Settle(expected, made->info.bytes, call, error)) {
    DestroyIn(*allocator_, *made);
    error.bytes = made->info.bytes;
    return std::unexpected(error);
  }
  return Track(*made, kind, owner, made->info.bytes);
}

template <DeviceResource T, class Make>
DeviceResult<TrackedAllocation<T>> DeviceBudgetManager::Create(DeviceKind kind, DeviceOwner* owner,
                                                               std::int64_t expected, Make make) {
  if (owner == nullptr) owner = parts_->self;
  bool edges = false;
  for (int attempt = 0;; ++attempt) {
    auto made = [&] {
      Call call(*this);
      auto tried = TryCreate<T>(call, kind, owner, std::max<std::int64_t>(expected, 0), make);
      edges = edges || call.edges;
      return tried;
    }();
    if (!made && Evict(made.error(), attempt)) continue;
    if (!made) parts_->refusals.fetch_add(1, memory_order_relaxed);
    if (edges) DeliverWarnings();
    return made;
  }
}

// Whether the program has given something up, so that trying again makes sense.
bool DeviceBudgetManager::Evict(const DeviceError& error, int attempt) {
  if (!parts_->evict || t_evicting == this || attempt >= kMostEvictions) return false;
  if (error.reason != Reason::kBudget && error.reason != Reason::kDeviceMemory &&
      error.reason != Reason::kTooMany) {
    return false;
  }
  const DeviceBudgetManager* const outer = std::exchange(t_evicting, this);
  const bool evicted = parts_->evict({error, error.bytes, attempt});
  t_evicting = outer;
  if (evicted) parts_->evictions.fetch_add(1, memory_order_relaxed);
  return evicted;
}

DeviceResult<TrackedBuffer> DeviceBudgetManager::CreateBuffer(const BufferDescription& description,
                                                              const MemoryRequest& request,
                                                              const DeviceAccount& account) {
  return Create<DeviceBuffer>(account.staging ? DeviceKind::kStaging : DeviceKind::kBuffer,
                              account.owner, description.bytes, [&](IMemoryAllocator& allocator) {
                                return allocator.CreateBuffer(description, request);
                              });
}

DeviceResult<TrackedImage> DeviceBudgetManager::CreateImage(const ImageDescription& description,
                                                            const MemoryRequest& request,
                                                            const DeviceAccount& account) {
  // Asked for only where a limit makes it worth while: the driver makes an image to answer.
  std::int64_t expected = 0;
  const DeviceOwner& owner = account.owner != nullptr ? *account.owner : *parts_->self;
  if (kind_budget(DeviceKind::kImage).limit() != kNoLimit || owner.budget().limit() != kNoLimit) {
    const auto needs = allocator_->Needs(description);
    if (!needs) return std::unexpected(needs.error());
    expected = needs->bytes;
  }
  return Create<DeviceImage>(
      DeviceKind::kImage, account.owner, expected,
      [&](IMemoryAllocator& allocator) { return allocator.CreateImage(description, request); });
}

DeviceResult<TrackedMemory> DeviceBudgetManager::Allocate(const MemoryNeeds& needs,
                                                          const MemoryRequest& request,
                                                          const DeviceAccount& account) {
  return Create<DeviceMemory>(
      DeviceKind::kShared, account.owner, needs.bytes,
      [&](IMemoryAllocator& allocator) { return allocator.Allocate(needs, request); });
}

DeviceResult<TrackedBuffer> DeviceBudgetManager::PlaceBuffer(const TrackedMemory& memory,
                                                             std::int64_t offset,
                                                             const BufferDescription& description) {
  const auto placed = allocator_->PlaceBuffer(memory->memory, offset, description);
  if (!placed) return std::unexpected(placed.error());
  return Track(*placed, DeviceKind::kShared, memory.owner_, 0);
}

DeviceResult<TrackedImage> DeviceBudgetManager::PlaceImage(const TrackedMemory& memory,
                                                           std::int64_t offset,
                                                           const ImageDescription& description) {
  const auto placed = allocator_->PlaceImage(memory->memory, offset, description);
  if (!placed) return std::unexpected(placed.error());
  return Track(*placed, DeviceKind::kShared, memory.owner_, 0);
}

template <DeviceResource T>
void TrackedAllocation<T>::Reset() noexcept {
  DeviceBudgetManager* const manager = std::exchange(manager_, nullptr);
  if (manager != nullptr) manager->End(*this);
  object_ = {};
  owner_ = nullptr;
  charged_ = 0;
}

template class TrackedAllocation<DeviceBuffer>;
template class TrackedAllocation<DeviceImage>;
template class TrackedAllocation<DeviceMemory>;

Result<DeviceOwner*> DeviceBudgetManager::Owner(std::string_view name, std::int64_t limit) {
  if (name.empty()) return Fail(ErrorCode::kInvalidArgument, "owner: a name: empty");
  if (limit < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "owner: a limit of 0 or more: " + std::to_string(limit));
  }
  const std::lock_guard lock(parts_->owners_lock);
  for (const auto& owner : parts_->owned) {
    if (owner->name() == name) return owner.get();
  }
  try {
    parts_->owned.push_back(
        std::make_unique<DeviceOwner>(std::string(name), limit, parts_->thresholds));
  } catch (const std::bad_alloc&) {
    return std::unexpected(NoMemoryForTables());
  }
  DeviceOwner* const owner = parts_->owned.back().get();
  owner->next_ = parts_->owners.load(memory_order_relaxed);
  parts_->owners.store(owner, memory_order_release);
  return owner;
}

SharedBudget& DeviceBudgetManager::kind_budget(DeviceKind kind) noexcept {
  return *parts_->kinds[static_cast<std::size_t>(kind)];
}

const SharedBudget& DeviceBudgetManager::heap_budget(std::uint32_t heap) const noexcept {
  METE_CHECK(heap < allocator_->layout().heap_count);
  return *parts_->heaps[heap].budget;
}

WarningSubscription DeviceBudgetManager::Subscribe(
    std::function<void(const BudgetWarning&)> callback) {
  return parts_->warnings.Subscribe(std::move(callback));
}

void DeviceBudgetManager::DeliverWarnings() noexcept {
  Parts& parts = *parts_;
  parts.warnings.Deliver([&] {
    bool any = parts.warnings.TakeEdges("device", device_);
    for (Parts::Heap& heap : parts.heaps) {
      if (heap.budget) any = parts.warnings.TakeEdges(heap.name, *heap.budget) || any;
    }
    for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
      any = parts.warnings.TakeEdges(kDeviceKindNames[kind], *parts.kinds[kind]) || any;
    }
    for (DeviceOwner* owner = parts.owners.load(memory_order_acquire); owner != nullptr;
         owner = owner->next_) {
      any = parts.warnings.TakeEdges(owner->name_, owner->budget_) || any;
    }
    return any;
  });
}

std::vector<MemoryLeak> DeviceBudgetManager::leaks() const {
  std::vector<MemoryLeak> left;
  for (const DeviceOwner* owner = parts_->owners.load(memory_order_acquire); owner != nullptr;
       owner = owner->next_) {
    if (owner->live_count() == 0) continue;
    left.push_back({owner->name(), owner->live_count(), owner->budget().used()});
  }
  std::ranges::sort(left, {}, &MemoryLeak::owner);
  return left;
}

}  // namespace mete
