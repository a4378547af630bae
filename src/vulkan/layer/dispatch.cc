#include "vulkan/layer/dispatch.h"

namespace mete::layer {
namespace {

// Under its name in the core of Vulkan, or else as the extension that it came from.
template <class Function, class Next, class Handle>
void Load(Function& function, Next next, Handle handle, const char* core, const char* khr) {
  PFN_vkVoidFunction found = next(handle, core);
  if (found == nullptr && khr != nullptr) found = next(handle, khr);
  function = reinterpret_cast<Function>(found);
}

}  // namespace

InstanceTable LoadInstanceTable(VkInstance instance, PFN_vkGetInstanceProcAddr next) {
  InstanceTable table;
  table.GetInstanceProcAddr = next;
  const auto load = [&](auto& function, const char* core, const char* khr = nullptr) {
    Load(function, next, instance, core, khr);
  };
  load(table.DestroyInstance, "vkDestroyInstance");
  load(table.EnumerateDeviceExtensionProperties, "vkEnumerateDeviceExtensionProperties");
  load(table.GetPhysicalDeviceMemoryProperties, "vkGetPhysicalDeviceMemoryProperties");
  load(table.GetPhysicalDeviceMemoryProperties2, "vkGetPhysicalDeviceMemoryProperties2",
       "vkGetPhysicalDeviceMemoryProperties2KHR");
  load(table.GetPhysicalDeviceProperties, "vkGetPhysicalDeviceProperties");
  load(table.GetPhysicalDeviceProperties2, "vkGetPhysicalDeviceProperties2",
       "vkGetPhysicalDeviceProperties2KHR");
  return table;
}

DeviceTable LoadDeviceTable(VkDevice device, PFN_vkGetDeviceProcAddr next) {
  DeviceTable table;
  table.GetDeviceProcAddr = next;
  const auto load = [&](auto& function, const char* core, const char* khr = nullptr) {
    Load(function, next, device, core, khr);
  };
  load(table.DestroyDevice, "vkDestroyDevice");
  load(table.AllocateMemory, "vkAllocateMemory");
  load(table.FreeMemory, "vkFreeMemory");
  load(table.GetBufferMemoryRequirements, "vkGetBufferMemoryRequirements");
  load(table.GetBufferMemoryRequirements2, "vkGetBufferMemoryRequirements2",
       "vkGetBufferMemoryRequirements2KHR");
  load(table.GetImageMemoryRequirements, "vkGetImageMemoryRequirements");
  load(table.GetImageMemoryRequirements2, "vkGetImageMemoryRequirements2",
       "vkGetImageMemoryRequirements2KHR");
  load(table.GetDeviceBufferMemoryRequirements, "vkGetDeviceBufferMemoryRequirements",
       "vkGetDeviceBufferMemoryRequirementsKHR");
  load(table.GetDeviceImageMemoryRequirements, "vkGetDeviceImageMemoryRequirements",
       "vkGetDeviceImageMemoryRequirementsKHR");
  load(table.QueueSubmit, "vkQueueSubmit");
  load(table.QueueSubmit2, "vkQueueSubmit2", "vkQueueSubmit2KHR");
  load(table.WaitSemaphores, "vkWaitSemaphores", "vkWaitSemaphoresKHR");
  load(table.GetSemaphoreCounterValue, "vkGetSemaphoreCounterValue",
       "vkGetSemaphoreCounterValueKHR");
  return table;
}

}  // namespace mete::layer
