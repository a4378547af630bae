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

inline bool IsHostUse(MemoryUse use) noexcept {
  return use == MemoryUse::kUpload || use == MemoryUse::kReadback;
}

// Upload memory is written in order and read by the device: cached memory would only be slower.
inline TypeFlags FlagsOf(MemoryUse use) noexcept {
  switch (use) {
    case MemoryUse::kDevice: return {.required = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT};
    case MemoryUse::kDeviceOrHost: return {.preferred = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT};
    case MemoryUse::kUpload:
      return {.required = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
              .preferred = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT};
    case MemoryUse::kReadback: break;
  }
  return {.required = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
          .preferred = VK_MEMORY_PROPERTY_HOST_CACHED_BIT};
}

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
  void Name(VkBuffer buffer, const char* name) const noexcept {
    if (name == nullptr) return;
    SetName(VK_OBJECT_TYPE_BUFFER, reinterpret_cast<std::uint64_t>(buffer), name);
  }
  void Name(VkImage image, const char* name) const noexcept {
    if (name == nullptr) return;
    SetName(VK_OBJECT_TYPE_IMAGE, reinterpret_cast<std::uint64_t>(image), name);
  }

  DeviceResult<DriverBudget> QueryDriverBudget() const noexcept;

  // kArgument for what makes no sense; true is never wrong, the driver has more limits.
  static bool IsSane(const BufferDescription& description) noexcept {
    return description.bytes > 0 && description.usage != 0;
  }
  static bool IsSane(const ImageDescription& description) noexcept;
  static bool IsSane(const MemoryRequest& request) noexcept {
    return request.priority >= 0 && request.priority <= 1 &&
           (!request.mapped || IsHostUse(request.use)) &&
           !(request.dedicated && request.existing_only);
  }
  static VkBufferCreateInfo Info(const BufferDescription& description) noexcept {
    return {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
            .size = static_cast<VkDeviceSize>(description.bytes),
            .usage = description.usage,
            .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
  }
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
