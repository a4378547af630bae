// The inside of a BudgetBridge.
//
// A block is bumped: slices are cut from it one after the other, and it starts anew when the last
// of them is back. What a queue reads of a block is one entry per queue, the highest value and how
// many slices: values of a queue are reached in order, so that nothing is gained by telling the
// slices of a block apart, and nothing has to be allocated to follow them.
//
// Locks, in this order: `uploaders_lock`, an uploader's, `lock`. `lock` is not held while anything
// outside runs; `outside` counts those who are, so that a queue may go once Drain has returned.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "mete/budget_bridge.h"

namespace mete {

struct BudgetBridge::Waiting {
  std::thread::id thread = std::this_thread::get_id();
  bool waited = false;
  Waiting* next = nullptr;
};

struct BudgetBridge::Parts {
  static constexpr std::size_t kTimelines = 16;
  // Of slices: what any device asks of copies and of flushes (Vulkan 1.3, required limits).
  static constexpr std::int64_t kAlignment = 256;

  struct Reading {
    std::uint64_t value = 0;
    std::int64_t slices = 0;
  };
  struct Block {
    TrackedBuffer buffer;
    std::byte* mapped = nullptr;
    std::int64_t bytes = 0;
    std::int64_t used = 0;
    std::int64_t slices = 0;  // held or read
    std::array<Reading, kTimelines> reading{};
  };
  struct Timeline {
    IDeviceTimeline* timeline = nullptr;
    std::int64_t slices = 0;  // read by it
    std::int64_t pins = 0;    // Uploaders
  };
  using Lock = std::unique_lock<std::mutex>;

  Parts(const StagingOptions& options, SharedBudget& host_parent, DeviceBudgetManager& of_device)
      : device(&of_device),
        host(BudgetKind::kLevel, options.quota, &host_parent),
        block_bytes(std::min(options.block_bytes, options.quota) / kAlignment * kAlignment) {}

  DeviceBudgetManager* device;
  DeviceOwner* owner = nullptr;
  SharedBudget host;
  const std::int64_t block_bytes;

  mutable std::mutex lock;
  std::condition_variable_any changed;
  std::vector<std::unique_ptr<Block>> blocks;
  std::array<Timeline, kTimelines> timelines{};
  std::size_t next_timeline = 0;  // to wait for
  Waiting* first = nullptr;       // in line for room
  Waiting* last = nullptr;
  int outside = 0;
  bool lost = false;
  std::int64_t waits = 0;
  std::int64_t given_up = 0;
  std::chrono::nanoseconds waited{0};

  std::mutex uploaders_lock;
  Uploader::Parts* uploaders = nullptr;

  // REQUIRES of all that take a Lock: it is held; they may let go of it in between.
  std::optional<StagingSlice> Cut(BudgetBridge& bridge, std::int64_t bytes);
  DeviceResult<void> Grow(Lock& held, std::int64_t bytes) noexcept;
  DeviceResult<std::unique_ptr<Block>> NewBlock(std::int64_t bytes);
  bool FreeIdle(Lock& held) noexcept;
  void Destroy(std::unique_ptr<Block> block) noexcept;
  bool Poll(Lock& held, DeviceResult<void>& result);
  DeviceResult<void> WaitBriefly(Lock& held, const StagingWait& wait);
  DeviceResult<bool> FlushUploaders(Lock& held);
  DeviceResult<StagingSlice> WaitForRoom(BudgetBridge& bridge, Lock& held, std::int64_t bytes,
                                         Waiting& self, const StagingWait& wait);
  DeviceResult<StagingSlice> WaitInLine(BudgetBridge& bridge, Lock& held, std::int64_t bytes,
                                        const StagingWait& wait);
  void Lose();

  void Reached(std::size_t timeline, std::uint64_t value);
  void GiveBack(Block& block, std::int64_t slices);
  std::int64_t InFlight() const;
  std::int64_t Slices() const;
  // The entry of a timeline, or kTimelines where none is left.
  std::size_t Find(const IDeviceTimeline* timeline) const;
  bool Pin(IDeviceTimeline& timeline);
  void Unpin(const IDeviceTimeline& timeline);
};

struct Uploader::Parts {
  struct Pending {
    BufferCopy copy;
    StagingSlice slice;
    std::uint64_t upload = 0;
  };
  struct Submitted {
    std::uint64_t batch = 0;
    std::uint64_t value = 0;
  };

  BudgetBridge* bridge = nullptr;
  ITransferQueue* queue = nullptr;
  UploadOptions options;
  Parts* next = nullptr;  // of the bridge's; guarded by its uploaders_lock

  std::mutex lock;
  std::vector<Pending> pending;
  std::vector<BufferCopy> copies;  // of the batch that is being submitted
  std::int64_t pending_bytes = 0;
  std::uint64_t batch = 1;  // the one that fills
  std::uint64_t uploads = 0;
  std::vector<Submitted> submitted;  // oldest first
  bool pinned = false;

  // Whether something was submitted.
  DeviceResult<bool> FlushPending() noexcept;
  DeviceResult<UploadTicket> UploadPiece(BufferHandle target, std::int64_t offset,
                                         std::span<const std::byte> data, std::uint64_t upload,
                                         const StagingWait& wait);
  void Abandon(std::uint64_t upload);
  bool MakeRoomForOneMore() noexcept;
  void Forget(std::uint64_t reached);
};

}  // namespace mete
