// Which functions come next in the chain, per instance and per device.
//
// The loader gives every dispatchable handle of one instance (or device) the same first word, its
// own table; that word is the key here, so that physical devices and queues are found too.
#pragma once

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "vulkan/layer/rules.h"

namespace mete::layer {

struct InstanceTable {
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
  PFN_vkDestroyInstance DestroyInstance = nullptr;
  PFN_vkEnumerateDeviceExtensionProperties EnumerateDeviceExtensionProperties = nullptr;
  PFN_vkGetPhysicalDeviceMemoryProperties GetPhysicalDeviceMemoryProperties = nullptr;
  PFN_vkGetPhysicalDeviceMemoryProperties2 GetPhysicalDeviceMemoryProperties2 = nullptr;
  PFN_vkGetPhysicalDeviceProperties GetPhysicalDeviceProperties = nullptr;
  PFN_vkGetPhysicalDeviceProperties2 GetPhysicalDeviceProperties2 = nullptr;
  Rules rules;  // those of when it was made
};

struct DeviceTable {
  PFN_vkGetDeviceProcAddr GetDeviceProcAddr = nullptr;
  PFN_vkDestroyDevice DestroyDevice = nullptr;
  PFN_vkAllocateMemory AllocateMemory = nullptr;
  PFN_vkFreeMemory FreeMemory = nullptr;
  PFN_vkGetBufferMemoryRequirements GetBufferMemoryRequirements = nullptr;
  PFN_vkGetBufferMemoryRequirements2 GetBufferMemoryRequirements2 = nullptr;
  PFN_vkGetImageMemoryRequirements GetImageMemoryRequirements = nullptr;
  PFN_vkGetImageMemoryRequirements2 GetImageMemoryRequirements2 = nullptr;
  PFN_vkGetDeviceBufferMemoryRequirements GetDeviceBufferMemoryRequirements = nullptr;
  PFN_vkGetDeviceImageMemoryRequirements GetDeviceImageMemoryRequirements = nullptr;
  PFN_vkQueueSubmit QueueSubmit = nullptr;
  PFN_vkQueueSubmit2 QueueSubmit2 = nullptr;
  PFN_vkWaitSemaphores WaitSemaphores = nullptr;
  PFN_vkGetSemaphoreCounterValue GetSemaphoreCounterValue = nullptr;
  VkPhysicalDeviceMemoryProperties memory{};  // the driver's
  bool discrete = false;                      // our heaps and types in place of the driver's
};

inline const void* KeyOf(const void* handle) noexcept {
  return *static_cast<const void* const*>(handle);
}

// Tables by key. An entry stays where it is until it is taken out.
template <class Table>
class Tables {
 public:
  void Put(const void* handle, const Table& table) {
    const std::unique_lock lock(mutex_);
    tables_[KeyOf(handle)] = table;
  }
  const Table& Of(const void* handle) const {
    const std::shared_lock lock(mutex_);
    return tables_.at(KeyOf(handle));
  }
  Table Take(const void* handle) {
    const std::unique_lock lock(mutex_);
    return tables_.extract(KeyOf(handle)).mapped();
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<const void*, Table> tables_;
};

InstanceTable LoadInstanceTable(VkInstance instance, PFN_vkGetInstanceProcAddr next);
DeviceTable LoadDeviceTable(VkDevice device, PFN_vkGetDeviceProcAddr next);

}  // namespace mete::layer
