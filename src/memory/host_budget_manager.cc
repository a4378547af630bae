#include "mete/host_budget_manager.h"

#include <algorithm>

#include "base/check.h"
#include "base/quote.h"
#include "memory/host_parts.h"
#include "memory/leaks.h"
#include "memory/no_memory.h"

namespace mete {

using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

namespace {

std::string CheckOptions(const HostOptions& options) {
  const std::pair<const char*, std::int64_t> limits[] = {
      {"limit", options.limit},
      {"frames_limit", options.frames_limit},
      {"persistent_limit", options.persistent_limit},
      {"heap_limit", options.heap_limit}};
  for (const auto& [name, limit] : limits) {
    if (limit < 0) return std::string(name) + ": 0 or more: " + std::to_string(limit);
  }
  if (options.parent != nullptr && options.parent->kind() != BudgetKind::kLevel) {
    return "parent: must be a level, not a flow";
  }
  if (options.fallback_warning < 0 || options.fallback_warning > 100) {
    return "fallback_warning: 0 to 100 per cent: " + std::to_string(options.fallback_warning);
  }
  if (std::max(options.persistent_ready, options.persistent_reserve) > kMaxAllocation) {
    return "persistent_ready, persistent_reserve: at most " + std::to_string(kMaxAllocation) +
           " bytes";
  }
  return {};
}

}  // namespace

HostBudgetManager::HostBudgetManager(const HostOptions& options)
    : memory_(options.memory != nullptr ? options.memory : &SystemHostMemory()),
      host_(BudgetKind::kLevel, options.limit, options.parent, options.thresholds),
      frames_budget_(BudgetKind::kLevel, options.frames_limit, &host_, options.thresholds),
      persistent_budget_(BudgetKind::kLevel, options.persistent_limit, &host_, options.thresholds),
      heap_budget_(BudgetKind::kLevel, options.heap_limit, &host_, options.thresholds),
      overflow_budget_(BudgetKind::kLevel, kNoLimit, &heap_budget_, options.thresholds),
      parts_(std::make_unique<Parts>()) {
  parts_->thresholds = options.thresholds;
  parts_->fallback_warning = options.fallback_warning;
  parts_->leaked = options.leaked ? options.leaked : PrintLeaks;
}

Result<std::unique_ptr<HostBudgetManager>> HostBudgetManager::Open(const HostOptions& options) {
  if (std::string bad = CheckOptions(options); !bad.empty()) {
    return Fail(ErrorCode::kInvalidArgument, std::move(bad));
  }
  try {
    std::unique_ptr<HostBudgetManager> manager(new HostBudgetManager(options));
    if (auto error = manager->OpenParts(options)) return std::unexpected(*std::move(error));
    return manager;
  } catch (const std::bad_alloc&) {
    return std::unexpected(NoMemoryForTables());
  }
}

std::optional<Error> HostBudgetManager::OpenParts(const HostOptions& options) {
  auto self = Owner("host");
  if (!self) return self.error();
  parts_->self = *self;
  if (const auto refused = parts_->persistent.Open(
          *memory_, persistent_budget_, options.persistent_reserve, options.persistent_ready)) {
    return refused->ToError();
  }
  auto frames = FrameArena::Open(options.frames, frames_budget_, overflow_budget_, *memory_,
                                 &EdgesRaised, this);
  if (!frames) return frames.error();
  frames_ = std::move(*frames);
  return std::nullopt;
}

HostBudgetManager::~HostBudgetManager() {
  EndDeferred(~std::uint64_t{0});
  frames_.reset();
  if (const std::vector<MemoryLeak> left = leaks(); !left.empty()) parts_->leaked(left);
}

Allocated<Allocation> HostBudgetManager::RequestAllocation(std::size_t size, std::size_t alignment,
                                                           AllocationScope scope) noexcept {
  return parts_->self->RequestAllocation(size, alignment, scope);
}

void HostBudgetManager::BeginFrame() noexcept {
  const std::uint64_t next = frames_->frame() + 1;
  const auto in_flight = static_cast<std::uint64_t>(frames_->frames_in_flight());
  {
    // What destructors raise is delivered once all of them have run.
    const WarningList::Turn turn(parts_->warnings);
    if (next > in_flight) EndDeferred(next - in_flight);
    frames_->BeginFrame();
  }
  DeliverWarnings();
}

void HostBudgetManager::PushDeferred(Deferred* deferred) noexcept {
  const std::lock_guard lock(parts_->deferred_lock);
  deferred->frame = frames_->frame();
  (parts_->newest != nullptr ? parts_->newest->newer : parts_->oldest) = deferred;
  parts_->newest = deferred;
  parts_->deferred.fetch_add(1, memory_order_relaxed);
}

// Ends what was deferred in frames up to `until`, with no lock held: ends may defer again.
void HostBudgetManager::EndDeferred(std::uint64_t until) noexcept {
  for (;;) {
    Deferred* deferred = nullptr;
    {
      const std::lock_guard lock(parts_->deferred_lock);
      deferred = parts_->oldest;
      if (deferred == nullptr || deferred->frame > until) return;
      parts_->oldest = deferred->newer;
      if (parts_->oldest == nullptr) parts_->newest = nullptr;
      parts_->deferred.fetch_sub(1, memory_order_relaxed);
    }
    deferred->end(deferred);
  }
}

Result<HostOwner*> HostBudgetManager::Owner(std::string_view name, std::int64_t limit) {
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
    parts_->owned.push_back(std::make_unique<HostOwner>(*this, std::string(name), limit,
                                                        heap_budget_, parts_->thresholds));
  } catch (const std::bad_alloc&) {
    return std::unexpected(NoMemoryForTables());
  }
  HostOwner* const owner = parts_->owned.back().get();
  owner->next_ = parts_->owners.load(memory_order_relaxed);
  parts_->owners.store(owner, memory_order_release);
  return owner;
}

std::vector<MemoryLeak> HostBudgetManager::leaks() const {
  std::vector<MemoryLeak> left;
  for (const HostOwner* owner = parts_->owners.load(memory_order_acquire); owner != nullptr;
       owner = owner->next_) {
    if (owner->live_count() == 0) continue;
    left.push_back({owner->name(), owner->live_count(), owner->live_bytes()});
  }
  std::ranges::sort(left, {}, &MemoryLeak::owner);
  return left;
}

WarningSubscription HostBudgetManager::Subscribe(
    std::function<void(const BudgetWarning&)> callback) {
  return parts_->warnings.Subscribe(std::move(callback));
}

void HostBudgetManager::EdgesRaised(void* self) {
  auto& manager = *static_cast<HostBudgetManager*>(self);
  // While it opens there are no subscribers, and not all of it is there.
  if (manager.frames_ != nullptr) manager.DeliverWarnings();
}

void HostBudgetManager::DeliverWarnings() noexcept {
  const WarningList& warnings = parts_->warnings;
  parts_->warnings.Deliver([&] {
    bool any = TellFallbackRatio();
    any = warnings.TakeEdges("host", host_) || any;
    any = warnings.TakeEdges("frames", frames_budget_) || any;
    any = warnings.TakeEdges("persistent", persistent_budget_) || any;
    any = warnings.TakeEdges("heap", heap_budget_) || any;
    for (HostOwner* owner = parts_->owners.load(memory_order_acquire); owner != nullptr;
         owner = owner->next_) {
      any = warnings.TakeEdges(owner->name(), owner->budget()) || any;
    }
    return any;
  });
}

// An edge of its own: raised above the ratio, re-armed at or below it.
bool HostBudgetManager::TellFallbackRatio() noexcept {
  const double percent = frames_->fallback_ratio() * 100;
  const bool high = percent > parts_->fallback_warning;
  if (high == parts_->fallbacks_high.exchange(high) || !high) return false;
  parts_->warnings.Tell({BudgetWarning::Kind::kFallbackRatio, "frames", static_cast<int>(percent),
                         frames_budget_.snapshot()});
  return true;
}

HostSnapshot HostBudgetManager::snapshot() const {
  HostSnapshot shot;
  shot.host = host_.snapshot();
  shot.frames = frames_budget_.snapshot();
  shot.persistent = persistent_budget_.snapshot();
  shot.heap = heap_budget_.snapshot();
  shot.frame = frames_->statistics();
  shot.persistent_committed = parts_->persistent.committed();
  shot.deferred = parts_->deferred.load(memory_order_relaxed);
  for (const HostOwner* owner = parts_->owners.load(memory_order_acquire); owner != nullptr;
       owner = owner->next_) {
    shot.owners.push_back(
        {owner->name(), owner->live_count(), owner->live_bytes(), owner->budget().snapshot()});
  }
  std::ranges::sort(shot.owners, {}, &HostOwnerUsage::name);
  shot.untracked = CountUntracked();
  return shot;
}

}  // namespace mete
