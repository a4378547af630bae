// Memory of a Vulkan device: the two allocators that implement IMemoryAllocator on it, and a queue
// that copies (ITransferQueue). The only public headers with types of Vulkan are in this folder.
//
//   VMAAllocator     the Vulkan Memory Allocator: resources share blocks. The default.
//   DirectAllocator  one vkAllocateMemory per resource: nothing between program and driver, for
//                    few large resources and for finding out whether an allocator is at fault.
//
// Both ask their gate before every vkAllocateMemory and tell it after every vkFreeMemory. VMA's own
// budget (VK_EXT_memory_budget, VMA_ALLOCATION_CREATE_WITHIN_BUDGET_BIT) is off: VMA 3.2.1 does not
// hold it (its issue 278), and it asks the driver on threads that allocate (its issue 204).
//
// REQUIRES: Vulkan 1.3; the device outlives what is made here; resources are destroyed before their
// allocator.
#pragma once

#include <vulkan/vulkan.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "mete/error.h"
#include "mete/memory_allocator.h"
#include "mete/resource_consumer.h"
#include "mete/transfer_queue.h"

namespace mete {

// A device that the program has opened, and what it has enabled on it.
struct VulkanDevice {
  VkInstance instance = VK_NULL_HANDLE;
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  bool memory_budget = false;    // VK_EXT_memory_budget
  bool memory_priority = false;  // VK_EXT_memory_priority and its feature
  bool debug_names = false;      // VK_EXT_debug_utils: resources carry the names of their requests
  // Given to every call that takes them. They live as long as what is made with them.
  const VkAllocationCallbacks* callbacks = nullptr;
};

struct VMAAllocator {
  // `block_bytes`: of blocks that resources share, where a heap is larger than 1 GiB; 0: VMA's own
  // choice, 256 MiB. E2071 for a device that is none; E2099 where the driver fails.
  static Result<std::unique_ptr<IMemoryAllocator>> Open(const VulkanDevice& device,
                                                        std::int64_t block_bytes = 0);
};

struct DirectAllocator {
  static Result<std::unique_ptr<IMemoryAllocator>> Open(const VulkanDevice& device);
};

// A queue of the device that copies, with a timeline semaphore and command buffers of its own that
// are used again. Submitting takes a lock; the program's own use of the same VkQueue must be kept
// out by the program. REQUIRES: its feature timelineSemaphore and synchronization2; the queue was
// made with the device.
struct VulkanTransferQueue {
  static Result<std::unique_ptr<ITransferQueue>> Open(const VulkanDevice& device, VkQueue queue,
                                                      std::uint32_t family);
};

// Memory of the host that a driver takes for itself: served by a consumer, an owner of the host
// budget for instance, and counted there. A driver that is refused answers that the host is out of
// memory. In a loop that has warmed up it takes nothing from malloc, where the consumer does not.
//
// Thread safety: as VkAllocationCallbacks ask for: any thread. REQUIRES: it and the consumer
// outlive all that was made with the callbacks.
class DriverHostMemory {
 public:
  explicit DriverHostMemory(IResourceConsumer& consumer) noexcept;
  DriverHostMemory(const DriverHostMemory&) = delete;
  DriverHostMemory& operator=(const DriverHostMemory&) = delete;

  const VkAllocationCallbacks* callbacks() const noexcept { return &callbacks_; }

  std::int64_t allocations() const noexcept { return allocations_.load(); }  // ever
  std::int64_t live() const noexcept { return live_.load(); }
  std::int64_t live_bytes() const noexcept { return live_bytes_.load(); }

 private:
  struct Header;
  void* Take(std::size_t size, std::size_t alignment) noexcept;
  void Give(void* memory) noexcept;
  static Header& HeaderOf(void* memory) noexcept;
  static void* VKAPI_CALL OnAllocate(void* self, std::size_t size, std::size_t alignment,
                                     VkSystemAllocationScope scope);
  static void* VKAPI_CALL OnReallocate(void* self, void* memory, std::size_t size,
                                       std::size_t alignment, VkSystemAllocationScope scope);
  static void VKAPI_CALL OnFree(void* self, void* memory);

  IResourceConsumer* consumer_;
  VkAllocationCallbacks callbacks_{};
  std::atomic<std::int64_t> allocations_{0};
  std::atomic<std::int64_t> live_{0};
  std::atomic<std::int64_t> live_bytes_{0};
};

// The handles of Vulkan behind mete's.
inline VkBuffer ToVulkan(BufferHandle buffer) noexcept { return std::bit_cast<VkBuffer>(buffer); }
inline VkImage ToVulkan(ImageHandle image) noexcept { return std::bit_cast<VkImage>(image); }

}  // namespace mete
