// The functions of Vulkan that this folder calls, as the device has them: without the loader's
// detour on every call.
#pragma once

#include <vulkan/vulkan.h>

#include "mete/error.h"
#include "mete/vulkan/allocators.h"

namespace mete {

#define METE_VULKAN_FUNCTIONS(X)       \
  X(AllocateMemory)                    \
  X(FreeMemory)                        \
  X(MapMemory)                         \
  X(UnmapMemory)                       \
  X(FlushMappedMemoryRanges)           \
  X(InvalidateMappedMemoryRanges)      \
  X(CreateBuffer)                      \
  X(DestroyBuffer)                     \
  X(CreateImage)                       \
  X(DestroyImage)                      \
  X(BindBufferMemory)                  \
  X(BindImageMemory)                   \
  X(GetDeviceBufferMemoryRequirements) \
  X(GetDeviceImageMemoryRequirements)  \
  X(GetBufferMemoryRequirements)       \
  X(GetImageMemoryRequirements)        \
  X(CreateSemaphore)                   \
  X(DestroySemaphore)                  \
  X(GetSemaphoreCounterValue)          \
  X(WaitSemaphores)                    \
  X(CreateCommandPool)                 \
  X(DestroyCommandPool)                \
  X(AllocateCommandBuffers)            \
  X(BeginCommandBuffer)                \
  X(EndCommandBuffer)                  \
  X(CmdCopyBuffer)                     \
  X(CmdPipelineBarrier2)               \
  X(QueueSubmit2)

struct VulkanFunctions {
#define METE_DECLARE(name) PFN_vk##name name = nullptr;
  METE_VULKAN_FUNCTIONS(METE_DECLARE)
#undef METE_DECLARE
  PFN_vkSetDebugUtilsObjectNameEXT SetDebugUtilsObjectNameEXT = nullptr;  // where names are on

  // E2071 where the device is none, or is below Vulkan 1.3.
  static Result<VulkanFunctions> Load(const VulkanDevice& device);
};

}  // namespace mete
