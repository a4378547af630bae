// BufferHelpers: the buffers that programs make most, each in memory that suits it, filled through
// the staging quota where the host cannot write it.
//
//   Vertex, Index, Storage   in memory of the device; contents by upload
//   Uniform                  written by the host as often as it likes, read by the device
//   Readback                 written by the device, read by the host
//
// Every one is a TrackedBuffer: charged while it lives, destroyed and given back together.
//
// Thread safety: everything may be called from any thread; a buffer belongs to one at a time.
// REQUIRES: what it is made of outlives it, and ends before the buffers' manager.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mete/budget_bridge.h"
#include "mete/device_budget_manager.h"
#include "mete/transfer_queue.h"

namespace mete {

// A buffer and what its contents have to wait for. Work submitted to the uploader's queue after
// `ready` was submitted sees them; everybody else waits: Uploader::Wait.
struct UploadedBuffer {
  TrackedBuffer buffer;  // REQUIRES: lives until `ready` is done
  UploadTicket ready;
};

class BufferHelpers {
 public:
  // `queue` is the uploader's, or another one; all buffers are charged to `owner`, null: the
  // device's own.
  BufferHelpers(DeviceBudgetManager& device, BudgetBridge& bridge, Uploader& uploader,
                ITransferQueue& queue, DeviceOwner* owner = nullptr) noexcept
      : device_(&device), bridge_(&bridge), uploader_(&uploader), queue_(&queue), owner_(owner) {}

  // A copy of the data, which is not empty (kArgument). An error of the budgets, the staging or the
  // device: there is no buffer, and nothing of it stays charged.
  [[nodiscard]] DeviceResult<UploadedBuffer> Vertex(std::span<const std::byte> data,
                                                    const StagingWait& wait = {});
  [[nodiscard]] DeviceResult<UploadedBuffer> Index(std::span<const std::byte> data,
                                                   const StagingWait& wait = {});
  [[nodiscard]] DeviceResult<UploadedBuffer> Storage(std::span<const std::byte> data,
                                                     const StagingWait& wait = {});

  // Storage that the device fills by itself. The contents are undefined at first.
  [[nodiscard]] DeviceResult<TrackedBuffer> Storage(std::int64_t bytes);

  // Stays mapped. Write copies and makes it visible to what is submitted afterwards; kArgument
  // outside the buffer. REQUIRES: the device does not read that part meanwhile.
  [[nodiscard]] DeviceResult<TrackedBuffer> Uniform(std::int64_t bytes);
  DeviceResult<void> Write(const TrackedBuffer& uniform, std::int64_t offset,
                           std::span<const std::byte> data);

  // Read copies from the start of `source`, or from `offset` in it, into `readback`, waits, and
  // shows the bytes, which stay until the next Read into it. What wrote the source must be done, or
  // have been submitted to this queue before. Allocates nothing. kTimeout: the copy is still under
  // way, and both buffers have to live until the queue is done with it.
  [[nodiscard]] DeviceResult<TrackedBuffer> Readback(std::int64_t bytes);
  [[nodiscard]] DeviceResult<std::span<const std::byte>> Read(
      const TrackedBuffer& source, const TrackedBuffer& readback, std::int64_t bytes,
      std::int64_t offset = 0, std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max());

 private:
  DeviceResult<UploadedBuffer> Upload(std::uint32_t usage, std::span<const std::byte> data,
                                      const StagingWait& wait);

  DeviceBudgetManager* device_;
  BudgetBridge* bridge_;
  Uploader* uploader_;
  ITransferQueue* queue_;
  DeviceOwner* owner_;
};

}  // namespace mete
