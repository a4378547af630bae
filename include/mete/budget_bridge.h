// BudgetBridge: the way of data from the host to the device, within one quota.
//
//   host budget ──── staging   ┐  the same bytes, charged on both sides or on none
//   device ───────── staging   ┘
//
// Staging memory is taken in blocks, stays mapped, and is used again: a StagingSlice is a piece of
// a block, to be filled and copied from. It comes back by itself, when it ends or when the timeline
// of the queue that reads it has reached the value of its batch; queues complete in any order.
//
// Who finds no room waits, first come first served, until there is some, until a deadline, or until
// cancelled: back-pressure instead of failure. It is told at once only where waiting would not
// help: nothing is staged, and a budget above refuses all the same.
//
// Uploader puts copies into batches and sends them through: any amount of data through any quota.
//
// When the device is lost, whoever waits is told so, and everything staged comes back.
//
// Thread safety: everything may be called from any thread, but for opening, ending, and what is
// marked REQUIRES; a slice belongs to one thread at a time. No lock is held while a hook or a
// callback of a budget runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>

#include "mete/budget.h"
#include "mete/device_budget_manager.h"
#include "mete/transfer_queue.h"

namespace mete {

class BudgetBridge;

struct StagingOptions {
  // 256 or more: of all blocks together, never passed.
  std::int64_t quota = std::int64_t{64} << 20;

  // Of one block, and the largest slice; less where the quota is. Large enough that a batch is
  // worth its submission, small enough that several are under way within the quota.
  std::int64_t block_bytes = std::int64_t{4} << 20;
};

// How long to wait for room. By default as long as it takes.
struct StagingWait {
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::stop_token cancelled{};

  static StagingWait For(std::chrono::nanoseconds time) {
    return {.deadline = std::chrono::steady_clock::now() +
                        std::chrono::duration_cast<std::chrono::steady_clock::duration>(time)};
  }
};

struct StagingUsage {
  std::int64_t quota = 0;
  std::int64_t charged = 0;  // in blocks, on either side
  std::int64_t peak = 0;     // of that
  std::int64_t blocks = 0;
  std::int64_t slices = 0;             // held, or read by a queue
  std::int64_t in_flight = 0;          // of those: read by a queue
  std::int64_t waits = 0;              // requests that had to wait, ever
  std::int64_t given_up = 0;           // of those: deadline passed, or cancelled
  std::chrono::nanoseconds waited{0};  // all of them together
};

// A piece of staging memory. Move-only; ends before its bridge.
class StagingSlice {
 public:
  StagingSlice() noexcept = default;
  StagingSlice(StagingSlice&& other) noexcept { Swap(other); }
  StagingSlice& operator=(StagingSlice&& other) noexcept {
    StagingSlice taken(std::move(other));
    Swap(taken);
    return *this;
  }
  ~StagingSlice() { Release(); }

  std::byte* data() const noexcept { return data_; }
  std::int64_t bytes() const noexcept { return bytes_; }
  BufferHandle buffer() const noexcept { return buffer_; }  // to copy from,
  std::int64_t offset() const noexcept { return offset_; }  // there
  explicit operator bool() const noexcept { return bridge_ != nullptr; }

  // Makes what was written visible to the device. REQUIRES: not empty.
  DeviceResult<void> Flush() noexcept;

  // A queue reads it until `timeline` has reached `value`; it is empty then, and comes back by
  // itself. kTooMany, and it stays as it is, with a 17th timeline. REQUIRES: not empty; the
  // timeline outlives the bridge, or BudgetBridge::Drain has returned since.
  DeviceResult<void> Submitted(IDeviceTimeline& timeline, std::uint64_t value) noexcept;

  // Nobody reads it. Harmless when empty.
  void Release() noexcept;

 private:
  friend class BudgetBridge;
  void Swap(StagingSlice& other) noexcept {
    std::swap(bridge_, other.bridge_);
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(buffer_, other.buffer_);
    std::swap(offset_, other.offset_);
    std::swap(bytes_, other.bytes_);
  }

  BudgetBridge* bridge_ = nullptr;
  void* block_ = nullptr;
  std::byte* data_ = nullptr;
  BufferHandle buffer_ = BufferHandle::kNone;
  std::int64_t offset_ = 0;
  std::int64_t bytes_ = 0;
};

class BudgetBridge {
 public:
  // `host` and `device` outlive it. E2071 for options that make no sense; E2099 where the system
  // does not grant what it needs itself.
  static Result<std::unique_ptr<BudgetBridge>> Open(const StagingOptions& options,
                                                    SharedBudget& host,
                                                    DeviceBudgetManager& device);

  // Waits for what is in flight. REQUIRES: nobody uses it, no slice is held.
  ~BudgetBridge();
  BudgetBridge(const BudgetBridge&) = delete;
  BudgetBridge& operator=(const BudgetBridge&) = delete;

  // A slice of that many bytes, more than 0 and at most block_bytes() (kArgument). kTimeout and
  // kCancelled: it has waited in vain; kBudget: nothing is staged, and a budget above refuses. Who
  // holds slices that nobody reads, and waits for more, should have a deadline. In a hook or a
  // callback that a request for room has raised nobody waits: kNoRoom.
  [[nodiscard]] DeviceResult<StagingSlice> Acquire(std::int64_t bytes,
                                                   const StagingWait& wait = {});

  // Takes back what queues have done with. Acquire does so by itself when it needs room.
  DeviceResult<void> Collect() noexcept;

  // Waits until nothing is in flight.
  DeviceResult<void> Drain(const StagingWait& wait = {}) noexcept;

  // Gives back the blocks that nothing is in. After Collect; blocks stay otherwise.
  void Trim() noexcept;

  std::int64_t block_bytes() const noexcept;
  StagingUsage usage() const noexcept;
  SharedBudget& host_budget() noexcept;  // the staging node under `host`

 private:
  friend class StagingSlice;
  friend class Uploader;
  struct Parts;
  struct Waiting;
  explicit BudgetBridge(std::unique_ptr<Parts> parts) noexcept;

  std::unique_ptr<Parts> parts_;
};

// What an upload has to wait for: counts the batches of its Uploader.
struct UploadTicket {
  std::uint64_t batch = 0;
};

struct UploadOptions {
  std::int64_t batch_bytes = std::int64_t{4} << 20;  // a batch is submitted once it has as many,
  int batch_copies = 256;                            // or as many copies
};

// Uploads to buffers of the device through one queue, in batches.
//
// REQUIRES: ends before its bridge and its queue; targets live until their upload is done, or until
// it has failed and Drain has returned.
class Uploader {
 public:
  Uploader(BudgetBridge& bridge, ITransferQueue& queue, const UploadOptions& options = {});

  // Submits what waits for a batch to fill; what cannot be submitted is dropped.
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // Copies the data, which may be given up afterwards, and has it written to the target: at the
  // latest when its batch is full, when somebody needs the room, or at Flush or Wait. What is
  // larger than a block goes in pieces. An error: nothing of it will be written that is not on its
  // way.
  [[nodiscard]] DeviceResult<UploadTicket> Upload(BufferHandle target, std::int64_t offset,
                                                  std::span<const std::byte> data,
                                                  const StagingWait& wait = {});

  // Submits what waits. An error: it still waits, and may be flushed again.
  DeviceResult<void> Flush() noexcept;

  // Whether it is written. kDeviceLost: it may never be.
  DeviceResult<bool> IsDone(UploadTicket ticket) noexcept;

  // Flushes, and waits until it is written.
  DeviceResult<void> Wait(UploadTicket ticket, const StagingWait& wait = {}) noexcept;

 private:
  friend class BudgetBridge;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace mete
