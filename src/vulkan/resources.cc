#include "vulkan/resources.h"

#include <algorithm>
#include <limits>

namespace mete {
namespace {

using Reason = DeviceError::Reason;

// The interface passes its bits on as they are.
constexpr bool Same(std::uint32_t ours, std::uint32_t theirs) { return ours == theirs; }
static_assert(Same(kBufferCopySource, VK_BUFFER_USAGE_TRANSFER_SRC_BIT));
static_assert(Same(kBufferCopyTarget, VK_BUFFER_USAGE_TRANSFER_DST_BIT));
static_assert(Same(kBufferUniform, VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT));
static_assert(Same(kBufferStorage, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT));
static_assert(Same(kBufferIndex, VK_BUFFER_USAGE_INDEX_BUFFER_BIT));
static_assert(Same(kBufferVertex, VK_BUFFER_USAGE_VERTEX_BUFFER_BIT));
static_assert(Same(kImageCopySource, VK_IMAGE_USAGE_TRANSFER_SRC_BIT));
static_assert(Same(kImageCopyTarget, VK_IMAGE_USAGE_TRANSFER_DST_BIT));
static_assert(Same(kImageSampled, VK_IMAGE_USAGE_SAMPLED_BIT));
static_assert(Same(kImageStorage, VK_IMAGE_USAGE_STORAGE_BIT));
static_assert(Same(kImageColorTarget, VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT));
static_assert(Same(kImageDepthTarget, VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT));
static_assert(kMaxMemoryHeaps == VK_MAX_MEMORY_HEAPS);
static_assert(kMaxMemoryTypes == VK_MAX_MEMORY_TYPES);

// Vulkan counts memory without a sign; a driver that says 2^64-1 means "no limit".
std::int64_t Clamp(VkDeviceSize bytes) noexcept {
  constexpr auto kMost = static_cast<VkDeviceSize>(std::numeric_limits<std::int64_t>::max());
  return static_cast<std::int64_t>(std::min(bytes, kMost));
}

MemoryNeeds ToNeeds(const VkMemoryRequirements& requirements) noexcept {
  return {.bytes = Clamp(requirements.size),
          .alignment = Clamp(requirements.alignment),
          .types = requirements.memoryTypeBits};
}

DeviceMemoryLayout ToLayout(const VkPhysicalDeviceMemoryProperties& memory) noexcept {
  DeviceMemoryLayout layout;
  layout.heap_count = memory.memoryHeapCount;
  layout.type_count = memory.memoryTypeCount;
  for (std::uint32_t heap = 0; heap < memory.memoryHeapCount; ++heap) {
    layout.heaps[heap] = {
        .bytes = Clamp(memory.memoryHeaps[heap].size),
        .device_local = (memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0};
  }
  for (std::uint32_t type = 0; type < memory.memoryTypeCount; ++type) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[type].propertyFlags;
    layout.types[type] = {.heap = memory.memoryTypes[type].heapIndex,
                          .device_local = (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) != 0,
                          .host_visible = (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0,
                          .host_coherent = (flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0,
                          .host_cached = (flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0};
  }
  return layout;
}

}  // namespace

DeviceError ToDeviceError(VkResult result, std::int64_t bytes) noexcept {
  DeviceError error{.reason = Reason::kSystem, .native = result, .bytes = bytes};
  switch (result) {
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: error.reason = Reason::kDeviceMemory; break;
    case VK_ERROR_OUT_OF_HOST_MEMORY: error.reason = Reason::kHostMemory; break;
    case VK_ERROR_TOO_MANY_OBJECTS: error.reason = Reason::kTooMany; break;
    case VK_ERROR_DEVICE_LOST: error.reason = Reason::kDeviceLost; break;
    case VK_ERROR_FORMAT_NOT_SUPPORTED:
    case VK_ERROR_FEATURE_NOT_PRESENT: error.reason = Reason::kUnsupported; break;
    case VK_TIMEOUT: error.reason = Reason::kTimeout; break;
    default: break;
  }
  return error;
}

bool IsWithin(const MemoryInfo& info, std::int64_t offset, std::int64_t bytes) noexcept {
  return offset >= 0 && bytes >= 0 && offset <= info.bytes && bytes <= info.bytes - offset;
}

VulkanResources::VulkanResources(const VulkanDevice& device, const VulkanFunctions& functions)
    : device_(device), functions_(functions) {
  vkGetPhysicalDeviceMemoryProperties(device.physical, &memory_);
  VkPhysicalDeviceMaintenance3Properties sizes{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceProperties2 properties{.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                         .pNext = &sizes};
  vkGetPhysicalDeviceProperties2(device.physical, &properties);
  layout_ = ToLayout(memory_);
  layout_.max_block_bytes = Clamp(sizes.maxMemoryAllocationSize);
  layout_.max_blocks = properties.properties.limits.maxMemoryAllocationCount;
  layout_.has_driver_budget = device.memory_budget;
  layout_.has_priority = device.memory_priority;
  atom_ = Clamp(properties.properties.limits.nonCoherentAtomSize);
}

bool VulkanResources::IsSane(const ImageDescription& description) noexcept {
  return description.format != 0 && description.width > 0 && description.height > 0 &&
         description.depth > 0 && description.levels > 0 && description.layers > 0 &&
         description.usage != 0 && description.samples > 0 &&
         (description.samples & (description.samples - 1)) == 0;
}

VkImageCreateInfo VulkanResources::Info(const ImageDescription& description) noexcept {
  return {.sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
          .imageType = description.depth == 1 ? VK_IMAGE_TYPE_2D : VK_IMAGE_TYPE_3D,
          .format = static_cast<VkFormat>(description.format),
          .extent = {description.width, description.height, description.depth},
          .mipLevels = description.levels,
          .arrayLayers = description.layers,
          .samples = static_cast<VkSampleCountFlagBits>(description.samples),
          .tiling = VK_IMAGE_TILING_OPTIMAL,
          .usage = description.usage,
          .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
          .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED};
}

DeviceResult<VkBuffer> VulkanResources::Create(
    const BufferDescription& description) const noexcept {
  if (!IsSane(description)) {
    return std::unexpected(DeviceError{.reason = Reason::kArgument, .bytes = description.bytes});
  }
  const VkBufferCreateInfo info = Info(description);
  VkBuffer buffer = VK_NULL_HANDLE;
  const VkResult result =
      functions_.CreateBuffer(device_.device, &info, device_.callbacks, &buffer);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, description.bytes));
  return buffer;
}

DeviceResult<VkImage> VulkanResources::Create(const ImageDescription& description) const noexcept {
  if (!IsSane(description)) return std::unexpected(DeviceError{.reason = Reason::kArgument});
  const VkImageCreateInfo info = Info(description);
  VkImage image = VK_NULL_HANDLE;
  const VkResult result = functions_.CreateImage(device_.device, &info, device_.callbacks, &image);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  return image;
}

void VulkanResources::Destroy(VkBuffer buffer) const noexcept {
  functions_.DestroyBuffer(device_.device, buffer, device_.callbacks);
}

void VulkanResources::Destroy(VkImage image) const noexcept {
  functions_.DestroyImage(device_.device, image, device_.callbacks);
}

DeviceResult<MemoryNeeds> VulkanResources::Needs(
    const BufferDescription& description) const noexcept {
  if (!IsSane(description)) {
    return std::unexpected(DeviceError{.reason = Reason::kArgument, .bytes = description.bytes});
  }
  const VkBufferCreateInfo create = Info(description);
  const VkDeviceBufferMemoryRequirements info{
      .sType = VK_STRUCTURE_TYPE_DEVICE_BUFFER_MEMORY_REQUIREMENTS, .pCreateInfo = &create};
  VkMemoryRequirements2 needs{.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
  functions_.GetDeviceBufferMemoryRequirements(device_.device, &info, &needs);
  return ToNeeds(needs.memoryRequirements);
}

DeviceResult<MemoryNeeds> VulkanResources::Needs(
    const ImageDescription& description) const noexcept {
  if (!IsSane(description)) return std::unexpected(DeviceError{.reason = Reason::kArgument});
  const VkImageCreateInfo create = Info(description);
  const VkDeviceImageMemoryRequirements info{
      .sType = VK_STRUCTURE_TYPE_DEVICE_IMAGE_MEMORY_REQUIREMENTS, .pCreateInfo = &create};
  VkMemoryRequirements2 needs{.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
  functions_.GetDeviceImageMemoryRequirements(device_.device, &info, &needs);
  return ToNeeds(needs.memoryRequirements);
}

MemoryNeeds VulkanResources::NeedsOf(VkBuffer buffer) const noexcept {
  VkMemoryRequirements needs{};
  functions_.GetBufferMemoryRequirements(device_.device, buffer, &needs);
  return ToNeeds(needs);
}

MemoryNeeds VulkanResources::NeedsOf(VkImage image) const noexcept {
  VkMemoryRequirements needs{};
  functions_.GetImageMemoryRequirements(device_.device, image, &needs);
  return ToNeeds(needs);
}

void VulkanResources::SetName(VkObjectType type, std::uint64_t object,
                              const char* name) const noexcept {
  if (functions_.SetDebugUtilsObjectNameEXT == nullptr) return;
  const VkDebugUtilsObjectNameInfoEXT info{
      .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
      .objectType = type,
      .objectHandle = object,
      .pObjectName = name};
  functions_.SetDebugUtilsObjectNameEXT(device_.device, &info);
}

DeviceResult<DriverBudget> VulkanResources::QueryDriverBudget() const noexcept {
  if (!device_.memory_budget) {
    return std::unexpected(DeviceError{.reason = Reason::kUnsupported});
  }
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
  vkGetPhysicalDeviceMemoryProperties2(device_.physical, &memory);
  DriverBudget answer;
  for (std::uint32_t heap = 0; heap < layout_.heap_count; ++heap) {
    answer[heap] = {.budget = budget.heapBudget[heap], .usage = budget.heapUsage[heap]};
  }
  return answer;
}

}  // namespace mete
