#include "mete/budget_bridge.h"

#include <algorithm>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "memory/bridge_parts.h"
#include "memory/no_memory.h"

namespace mete {

using Reason = DeviceError::Reason;
using Clock = std::chrono::steady_clock;

namespace {

// How long one wait for a queue lasts, before other queues and the cancellation are looked at.
constexpr std::chrono::milliseconds kStep{1};

std::unexpected<DeviceError> Refuse(Reason reason, std::int64_t bytes) noexcept {
  return std::unexpected(DeviceError{.reason = reason, .bytes = bytes});
}

}  // namespace

BudgetBridge::BudgetBridge(std::unique_ptr<Parts> parts) noexcept : parts_(std::move(parts)) {}

Result<std::unique_ptr<BudgetBridge>> BudgetBridge::Open(const StagingOptions& options,
                                                         SharedBudget& host,
                                                         DeviceBudgetManager& device) {
  if (options.quota < Parts::kAlignment) {
    return Fail(ErrorCode::kInvalidArgument,
                "quota: 256 or more: " + std::to_string(options.quota));
  }
  if (options.block_bytes < Parts::kAlignment) {
    return Fail(ErrorCode::kInvalidArgument,
                "block_bytes: 256 or more: " + std::to_string(options.block_bytes));
  }
  if (host.kind() != BudgetKind::kLevel) {
    return Fail(ErrorCode::kInvalidArgument, "host: must be a level, not a flow");
  }
  const auto owner = device.Owner("staging");
  if (!owner) return std::unexpected(owner.error());
  try {
    auto parts = std::make_unique<Parts>(options, host, device);
    parts->owner = *owner;
    parts->blocks.reserve(static_cast<std::size_t>(
        std::min<std::int64_t>(options.quota / parts->block_bytes + 1, 1024)));
    return std::unique_ptr<BudgetBridge>(new BudgetBridge(std::move(parts)));
  } catch (const std::bad_alloc&) {
    return std::unexpected(NoMemoryForTables());
  }
}

BudgetBridge::~BudgetBridge() {
  std::ignore = Drain();
  METE_CHECK(parts_->Slices() == 0);
  for (auto& block : parts_->blocks) parts_->Destroy(std::move(block));
}

std::int64_t BudgetBridge::Parts::InFlight() const {
  std::int64_t slices = 0;
  for (const Timeline& timeline : timelines) slices += timeline.slices;
  return slices;
}

std::int64_t BudgetBridge::Parts::Slices() const {
  std::int64_t slices = 0;
  for (const auto& block : blocks) slices += block->slices;
  return slices;
}

std::size_t BudgetBridge::Parts::Find(const IDeviceTimeline* timeline) const {
  std::size_t unused = kTimelines;
  for (std::size_t i = 0; i < kTimelines; ++i) {
    if (timelines[i].timeline == timeline) return i;
    if (timelines[i].slices == 0 && timelines[i].pins == 0 && unused == kTimelines) unused = i;
  }
  return unused;
}

bool BudgetBridge::Parts::Pin(IDeviceTimeline& timeline) {
  const std::lock_guard held(lock);
  const std::size_t at = Find(&timeline);
  if (at == kTimelines) return false;
  timelines[at].timeline = &timeline;
  ++timelines[at].pins;
  return true;
}

void BudgetBridge::Parts::Unpin(const IDeviceTimeline& timeline) {
  const std::lock_guard held(lock);
  --timelines[Find(&timeline)].pins;
}

void BudgetBridge::Parts::GiveBack(Block& block, std::int64_t slices) {
  block.slices -= slices;
  if (block.slices == 0) block.used = 0;
  changed.notify_all();
}

void BudgetBridge::Parts::Reached(std::size_t timeline, std::uint64_t value) {
  for (auto& block : blocks) {
    Reading& reading = block->reading[timeline];
    if (reading.slices == 0 || reading.value > value) continue;
    timelines[timeline].slices -= reading.slices;
    GiveBack(*block, std::exchange(reading.slices, 0));
  }
}

// What was in flight will not be read any more.
void BudgetBridge::Parts::Lose() {
  lost = true;
  for (std::size_t i = 0; i < kTimelines; ++i) Reached(i, ~std::uint64_t{0});
  changed.notify_all();
}

std::optional<StagingSlice> BudgetBridge::Parts::Cut(BudgetBridge& bridge, std::int64_t bytes) {
  for (auto& block : blocks) {
    if (bytes > block->bytes - block->used) continue;
    StagingSlice slice;
    slice.bridge_ = &bridge;
    slice.block_ = block.get();
    slice.data_ = block->mapped + block->used;
    slice.buffer_ = block->buffer->buffer;
    slice.offset_ = block->used;
    slice.bytes_ = bytes;
    block->used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    ++block->slices;
    return slice;
  }
  return std::nullopt;
}

// Charges both sides, host first; or neither.
DeviceResult<std::unique_ptr<BudgetBridge::Parts::Block>> BudgetBridge::Parts::NewBlock(
    std::int64_t bytes) {
  auto held = host.Reserve(bytes);
  if (!held) {
    return std::unexpected(
        DeviceError{.reason = Reason::kBudget, .bytes = bytes, .budget = held.error()});
  }
  auto buffer = device->CreateBuffer({.bytes = bytes, .usage = kBufferCopySource},
                                     {.use = MemoryUse::kUpload, .mapped = true, .name = "staging"},
                                     {.owner = owner, .staging = true});
  if (!buffer) return std::unexpected(buffer.error());
  Hold rest;
  if (const std::int64_t more = buffer->charged() - bytes; more > 0) {
    auto held_too = host.Reserve(more);
    if (!held_too) {
      return std::unexpected(
          DeviceError{.reason = Reason::kBudget, .bytes = bytes, .budget = held_too.error()});
    }
    rest = std::move(*held_too);
  }
  auto block = std::make_unique<Block>();
  block->mapped = static_cast<std::byte*>((*buffer)->info.mapped);
  block->bytes = buffer->charged();
  block->buffer = std::move(*buffer);
  const Charged charged = held->Settle(std::min(bytes, block->bytes));
  const Charged charged_rest = rest ? rest.Settle(rest.amount()) : Charged();
  METE_CHECK(charged && charged_rest && block->mapped != nullptr);
  return block;
}

void BudgetBridge::Parts::Destroy(std::unique_ptr<Block> block) noexcept {
  const std::int64_t bytes = block->bytes;
  block.reset();
  host.Uncharge(bytes);
}

// A block of the usual size, or of what is asked for where that is too much.
DeviceResult<void> BudgetBridge::Parts::Grow(Lock& held, std::int64_t bytes) noexcept {
  try {
    blocks.reserve(blocks.size() + 1);  // only who is first in line grows: the place is ours
    held.unlock();
    auto block = NewBlock(block_bytes);
    const std::int64_t least = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (!block && block.error().reason == Reason::kBudget && least < block_bytes) {
      block = NewBlock(least);
    }
    held.lock();
    if (!block) return std::unexpected(block.error());
    blocks.push_back(std::move(*block));
    return {};
  } catch (const std::bad_alloc&) {
    if (!held.owns_lock()) held.lock();
    return Refuse(Reason::kHostMemory, bytes);
  }
}

// Blocks that nothing is in: others may be had in their place. Whether there was one.
bool BudgetBridge::Parts::FreeIdle(Lock& held) noexcept {
  bool any = false;
  for (;;) {
    const auto idle =
        std::ranges::find_if(blocks, [](const auto& block) { return block->slices == 0; });
    if (idle == blocks.end()) return any;
    std::unique_ptr<Block> gone = std::move(*idle);
    blocks.erase(idle);
    held.unlock();
    Destroy(std::move(gone));
    held.lock();
    any = true;
  }
}

// Asks every queue that reads something how far it is. Whether anything came back.
bool BudgetBridge::Parts::Poll(Lock& held, DeviceResult<void>& result) {
  std::array<IDeviceTimeline*, kTimelines> asked{};
  std::array<DeviceResult<std::uint64_t>, kTimelines> reached{};
  for (std::size_t i = 0; i < kTimelines; ++i) {
    if (timelines[i].slices > 0) asked[i] = timelines[i].timeline;
  }
  const std::int64_t before = InFlight();
  ++outside;
  held.unlock();
  for (std::size_t i = 0; i < kTimelines; ++i) {
    if (asked[i] != nullptr) reached[i] = asked[i]->Reached();
  }
  held.lock();
  --outside;
  changed.notify_all();
  for (std::size_t i = 0; i < kTimelines; ++i) {
    if (asked[i] == nullptr || timelines[i].timeline != asked[i]) continue;
    if (reached[i]) {
      Reached(i, *reached[i]);
    } else {
      result = std::unexpected(reached[i].error());
      if (reached[i].error().reason == Reason::kDeviceLost) Lose();
    }
  }
  return InFlight() < before;
}

// For a queue, if any reads something, else for whoever holds slices.
DeviceResult<void> BudgetBridge::Parts::WaitBriefly(Lock& held, const StagingWait& wait) {
  const auto until = std::min(wait.deadline, Clock::now() + kStep);
  for (std::size_t i = 0; i < kTimelines; ++i) {
    const std::size_t at = (next_timeline + i) % kTimelines;
    if (timelines[at].slices == 0) continue;
    next_timeline = at + 1;
    std::uint64_t oldest = ~std::uint64_t{0};
    for (const auto& block : blocks) {
      const Reading& reading = block->reading[at];
      if (reading.slices > 0) oldest = std::min(oldest, reading.value);
    }
    IDeviceTimeline* const timeline = timelines[at].timeline;
    ++outside;
    held.unlock();
    const auto done = timeline->Wait(oldest, std::max(until - Clock::now(), Clock::duration{0}));
    held.lock();
    --outside;
    changed.notify_all();
    if (done) {
      if (timelines[at].timeline == timeline) Reached(at, oldest);
      return {};
    }
    if (done.error().reason == Reason::kTimeout) return {};
    if (done.error().reason == Reason::kDeviceLost) Lose();
    return done;
  }
  changed.wait_until(held, until);
  return {};
}

// The first in line looks for room in every way there is: a block that has some, a new block, the
// place of idle ones, what queues have done with, what Uploaders hold back for a batch to fill.
DeviceResult<StagingSlice> BudgetBridge::Parts::WaitForRoom(BudgetBridge& bridge, Lock& held,
                                                            std::int64_t bytes, Waiting& self,
                                                            const StagingWait& wait) {
  for (auto grow_at = Clock::time_point::min();;) {
    if (lost) return Refuse(Reason::kDeviceLost, bytes);
    if (auto slice = Cut(bridge, bytes)) return std::move(*slice);
    DeviceResult<void> grown;
    const bool staged = Slices() > 0;
    if (!staged || Clock::now() >= grow_at) {
      grown = Grow(held, bytes);
      if (grown || FreeIdle(held)) continue;
      // A budget above that refuses has a hook that evicts, maybe: it is asked now and then.
      if (grown.error().budget.budget != &host) grow_at = Clock::now() + 10 * kStep;
    }
    DeviceResult<void> polled;
    if (Poll(held, polled) || lost) continue;
    const auto flushed = FlushUploaders(held);
    if (flushed && *flushed) continue;
    if (!flushed && InFlight() == 0) return std::unexpected(flushed.error());
    if (Slices() == 0) {
      if (!staged) return std::unexpected(grown.error());  // waiting would not help
      continue;
    }
    if (wait.cancelled.stop_requested()) return Refuse(Reason::kCancelled, bytes);
    if (Clock::now() >= wait.deadline) return Refuse(Reason::kTimeout, bytes);
    self.waited = true;
    const auto waited_for = WaitBriefly(held, wait);
    if (!waited_for && !lost) return std::unexpected(waited_for.error());
  }
}

DeviceResult<StagingSlice> BudgetBridge::Parts::WaitInLine(BudgetBridge& bridge, Lock& held,
                                                           std::int64_t bytes,
                                                           const StagingWait& wait) {
  Waiting self{.waited = first != nullptr};
  for (const Waiting* other = first; other != nullptr; other = other->next) {
    if (other->thread == self.thread) return Refuse(Reason::kNoRoom, bytes);  // it is further out
  }
  (last != nullptr ? last->next : first) = &self;
  last = &self;
  const auto start = Clock::now();
  const bool woken = changed.wait_until(held, wait.cancelled, wait.deadline,
                                        [&] { return first == &self || lost; });
  DeviceResult<StagingSlice> result;
  if (first == &self) {
    result = WaitForRoom(bridge, held, bytes, self, wait);
  } else if (woken) {
    result = Refuse(Reason::kDeviceLost, bytes);
  } else {
    result = Refuse(wait.cancelled.stop_requested() ? Reason::kCancelled : Reason::kTimeout, bytes);
  }
  if (self.waited) {
    ++waits;
    waited += Clock::now() - start;
    if (!result) ++given_up;
  }
  Waiting** link = &first;
  Waiting* before = nullptr;
  for (; *link != &self; link = &(*link)->next) before = *link;
  *link = self.next;
  if (last == &self) last = before;
  changed.notify_all();
  return result;
}

DeviceResult<StagingSlice> BudgetBridge::Acquire(std::int64_t bytes, const StagingWait& wait) {
  Parts& parts = *parts_;
  if (bytes <= 0 || bytes > parts.block_bytes) return Refuse(Reason::kArgument, bytes);
  Parts::Lock held(parts.lock);
  if (parts.lost) return Refuse(Reason::kDeviceLost, bytes);
  if (parts.first == nullptr) {
    if (auto slice = parts.Cut(*this, bytes)) return std::move(*slice);
  }
  return parts.WaitInLine(*this, held, bytes, wait);
}

DeviceResult<void> StagingSlice::Flush() noexcept {
  const auto* const block = static_cast<const BudgetBridge::Parts::Block*>(block_);
  return bridge_->parts_->device->allocator().Flush(block->buffer->memory, offset_, bytes_);
}

DeviceResult<void> StagingSlice::Submitted(IDeviceTimeline& timeline,
                                           std::uint64_t value) noexcept {
  using Parts = BudgetBridge::Parts;
  Parts& parts = *bridge_->parts_;
  auto& block = *static_cast<Parts::Block*>(block_);
  const std::lock_guard held(parts.lock);
  const std::size_t at = parts.Find(&timeline);
  if (at == Parts::kTimelines) return Refuse(Reason::kTooMany, bytes_);
  if (parts.lost) {
    parts.GiveBack(block, 1);
  } else {
    parts.timelines[at].timeline = &timeline;
    ++parts.timelines[at].slices;
    Parts::Reading& reading = block.reading[at];
    reading.value = reading.slices == 0 ? value : std::max(reading.value, value);
    ++reading.slices;
    parts.changed.notify_all();
  }
  bridge_ = nullptr;
  return {};
}

void StagingSlice::Release() noexcept {
  BudgetBridge* const bridge = std::exchange(bridge_, nullptr);
  if (bridge == nullptr) return;
  const std::lock_guard held(bridge->parts_->lock);
  bridge->parts_->GiveBack(*static_cast<BudgetBridge::Parts::Block*>(block_), 1);
}

DeviceResult<void> BudgetBridge::Collect() noexcept {
  DeviceResult<void> result;
  Parts::Lock held(parts_->lock);
  static_cast<void>(parts_->Poll(held, result));
  return result;
}

DeviceResult<void> BudgetBridge::Drain(const StagingWait& wait) noexcept {
  Parts& parts = *parts_;
  Parts::Lock held(parts.lock);
  while (parts.InFlight() > 0 || parts.outside > 0) {
    if (wait.cancelled.stop_requested()) return Refuse(Reason::kCancelled, 0);
    if (Clock::now() >= wait.deadline) return Refuse(Reason::kTimeout, 0);
    const auto waited = parts.WaitBriefly(held, wait);
    if (!waited && !parts.lost) return waited;
  }
  if (parts.lost) return Refuse(Reason::kDeviceLost, 0);
  return {};
}

void BudgetBridge::Trim() noexcept {
  Parts::Lock held(parts_->lock);
  static_cast<void>(parts_->FreeIdle(held));
}

std::int64_t BudgetBridge::block_bytes() const noexcept { return parts_->block_bytes; }

SharedBudget& BudgetBridge::host_budget() noexcept { return parts_->host; }

StagingUsage BudgetBridge::usage() const noexcept {
  const Parts& parts = *parts_;
  const std::lock_guard held(parts.lock);
  return {.quota = parts.host.limit(),
          .charged = parts.host.used(),
          .peak = parts.host.peak(),
          .blocks = static_cast<std::int64_t>(parts.blocks.size()),
          .slices = parts.Slices(),
          .in_flight = parts.InFlight(),
          .waits = parts.waits,
          .given_up = parts.given_up,
          .waited = parts.waited};
}

}  // namespace mete
