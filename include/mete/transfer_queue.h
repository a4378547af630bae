// ITransferQueue: who copies between buffers of a device, and when that is done. The interface
// between the staging half of the budgets and a queue of the device.
//
// A queue is a *timeline*: each submission has a value, greater than those before it, and is done
// when the timeline has reached it (a timeline semaphore, Vulkan 1.3 section 7.4). Within a queue
// values are reached in order; different queues know nothing of each other.
//
// Work that the program submits itself is followed the same way: DeviceTimeline alone.
//
// Thread safety: every operation may run on any thread at any time.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "mete/memory_allocator.h"

namespace mete {

class IDeviceTimeline {
 public:
  virtual ~IDeviceTimeline() = default;

  // The value that has been reached; 0 at first. kDeviceLost: none will be reached any more.
  virtual DeviceResult<std::uint64_t> Reached() noexcept = 0;

  // Waits until the value is reached. kTimeout: it was not, in that time; 0 only looks.
  virtual DeviceResult<void> Wait(std::uint64_t value,
                                  std::chrono::nanoseconds timeout) noexcept = 0;
};

// Both ranges within their buffers, and not overlapping.
struct BufferCopy {
  BufferHandle source = BufferHandle::kNone;
  BufferHandle target = BufferHandle::kNone;
  std::int64_t source_offset = 0;
  std::int64_t target_offset = 0;
  std::int64_t bytes = 0;  // > 0
};

class ITransferQueue : public IDeviceTimeline {
 public:
  // Submits all copies as one batch and returns its value. What was flushed before is seen; what is
  // written can be read by the host, and by all work submitted later to the same queue, once the
  // value is reached. kArgument for no copies. The buffers must live until then.
  [[nodiscard]] virtual DeviceResult<std::uint64_t> Submit(
      std::span<const BufferCopy> copies) noexcept = 0;
};

}  // namespace mete
