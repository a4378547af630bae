#include "vulkan/gated.h"

namespace mete {

Result<void> GatedMemory::Attach(MemoryGate& gate) noexcept {
  if (gate_ != nullptr) return Fail(ErrorCode::kAlreadyExists, "gate: the allocator has one");
  if (live_.load(std::memory_order_relaxed) != 0) {
    return Fail(ErrorCode::kInUse, "gate: the allocator has taken memory without it");
  }
  gate_ = &gate;
  return {};
}

// The driver limits the number of blocks, and may not be asked beyond it (Vulkan 1.3, section
// 11.2.1, vkAllocateMemory); a block counts from before it is asked for until after it went back.
VkResult GatedMemory::Allocate(const VkMemoryAllocateInfo& info, VkDeviceMemory* memory,
                               bool& refused) noexcept {
  const std::uint32_t heap = HeapOf(info.memoryTypeIndex);
  const auto bytes = static_cast<std::int64_t>(info.allocationSize);
  if (live_.fetch_add(1, std::memory_order_relaxed) >= resources_->layout().max_blocks) {
    live_.fetch_sub(1, std::memory_order_relaxed);
    return VK_ERROR_TOO_MANY_OBJECTS;
  }
  if (gate_ != nullptr && !gate_->TryTake(heap, bytes)) {
    live_.fetch_sub(1, std::memory_order_relaxed);
    refused = true;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  }
  const VulkanDevice& device = resources_->device();
  const VkResult result =
      resources_->functions().AllocateMemory(device.device, &info, device.callbacks, memory);
  if (result != VK_SUCCESS) {
    live_.fetch_sub(1, std::memory_order_relaxed);
    if (gate_ != nullptr) gate_->Returned(heap, bytes);
  }
  return result;
}

void GatedMemory::Free(VkDeviceMemory memory, std::uint32_t type, std::int64_t bytes) noexcept {
  const VulkanDevice& device = resources_->device();
  resources_->functions().FreeMemory(device.device, memory, device.callbacks);
  live_.fetch_sub(1, std::memory_order_relaxed);
  if (gate_ != nullptr) gate_->Returned(HeapOf(type), bytes);
}

}  // namespace mete
