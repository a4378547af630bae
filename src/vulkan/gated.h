// GatedMemory: vkAllocateMemory and vkFreeMemory with the gate asked before and told after. All
// memory of the device that this folder takes passes here.
#pragma once

#include <vulkan/vulkan.h>

#include <atomic>
#include <cstdint>

#include "mete/memory_allocator.h"
#include "vulkan/resources.h"

namespace mete {

class GatedMemory {
 public:
  explicit GatedMemory(const VulkanResources& resources) noexcept : resources_(&resources) {}

  // As IMemoryAllocator::Attach.
  Result<void> Attach(MemoryGate& gate) noexcept;

  // `refused`: set where the gate said no; the result is then VK_ERROR_OUT_OF_DEVICE_MEMORY.
  VkResult Allocate(const VkMemoryAllocateInfo& info, VkDeviceMemory* memory,
                    bool& refused) noexcept;
  void Free(VkDeviceMemory memory, std::uint32_t type, std::int64_t bytes) noexcept;

 private:
  std::uint32_t HeapOf(std::uint32_t type) const noexcept {
    return resources_->layout().types[type].heap;
  }

  const VulkanResources* resources_;
  MemoryGate* gate_ = nullptr;  // set before any block is taken
  std::atomic<std::int64_t> live_{0};
};

}  // namespace mete
