// What both allocators do alike: making buffers and images, naming them, asking what they need, and
// translating between Vulkan's words and mete's.
#pragma once

#include <vulkan/vulkan.h>

#include <cstdint>

#include "mete/memory_allocator.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/functions.h"

namespace mete {

DeviceError ToDeviceError(VkResult result, std::int64_t bytes) noexcept;

// The property flags that a use cannot do without, and those that make it better.
struct TypeFlags {
  VkMemoryPropertyFlags required = 0;
  VkMemoryPropertyFlags preferred = 0;
};
TypeFlags FlagsOf(MemoryUse use) noexcept;

bool IsHostUse(MemoryUse use) noexcept;

// Whether the range is part of the memory.
bool IsWithin(const MemoryInfo& info, std::int64_t offset, std::int64_t bytes) noexcept;

class VulkanResources {
 public:
  VulkanResources(const VulkanDevice& device, const VulkanFunctions& functions);

  DeviceResult<VkBuffer> Create(const BufferDescription& description) const noexcept;
  DeviceResult<VkImage> Create(const ImageDescription& description) const noexcept;
  void Destroy(VkBuffer buffer) const noexcept;
  void Destroy(VkImage image) const noexcept;

  DeviceResult<MemoryNeeds> Needs(const BufferDescription& description) const noexcept;
  DeviceResult<MemoryNeeds> Needs(const ImageDescription& description) const noexcept;
  MemoryNeeds NeedsOf(VkBuffer buffer) const noexcept;
  MemoryNeeds NeedsOf(VkImage image) const noexcept;

  // For tools; nothing without a name, or where names are off.
  void Name(VkBuffer buffer, const char* name) const noexcept;
  void Name(VkImage image, const char* name) const noexcept;

  DeviceResult<DriverBudget> QueryDriverBudget() const noexcept;

  // kArgument for what makes no sense; true is never wrong, the driver has more limits.
  static bool IsSane(const BufferDescription& description) noexcept;
  static bool IsSane(const ImageDescription& description) noexcept;
  static bool IsSane(const MemoryRequest& request) noexcept;
  static VkBufferCreateInfo Info(const BufferDescription& description) noexcept;
  static VkImageCreateInfo Info(const ImageDescription& description) noexcept;

  const VulkanDevice& device() const noexcept { return device_; }
  const VulkanFunctions& functions() const noexcept { return functions_; }
  const DeviceMemoryLayout& layout() const noexcept { return layout_; }
  const VkPhysicalDeviceMemoryProperties& properties() const noexcept { return memory_; }
  std::int64_t atom() const noexcept { return atom_; }  // nonCoherentAtomSize

 private:
  void SetName(VkObjectType type, std::uint64_t object, const char* name) const noexcept;

  VulkanDevice device_;
  VulkanFunctions functions_;
  DeviceMemoryLayout layout_;
  VkPhysicalDeviceMemoryProperties memory_{};
  std::int64_t atom_ = 1;
};

}  // namespace mete
