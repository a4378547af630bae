// VK_LAYER_METE_memory: holds a process to a count of device memory, between the program and the
// driver. rules.h says what it can be told.
//
// With two heaps it shows a discrete GPU, whatever the driver has:
//
//   type 0  device local                    heap 0 (device local)
//   type 1  host visible, coherent          heap 1
//   type 2  host visible, cached            heap 1; not coherent, so that flushes are needed
//
// Every resource may then be in every type, and the driver gets its own type 0 for all of them:
// REQUIRES a driver whose type 0 is host visible, as that of a software driver is.
//
// Memory that a driver takes for itself does not pass here (vkAllocateMemory), nor does that of
// other processes.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "vulkan/layer/control.h"
#include "vulkan/layer/dispatch.h"
#include "vulkan/layer/rules.h"

namespace mete::layer {
namespace {

constexpr const char* kLayerName = "VK_LAYER_METE_memory";

struct Block {
  std::uint32_t heap = 0;
  std::int64_t bytes = 0;
};

// All of the layer's state. Never destroyed: programs end with devices open.
struct State {
  Tables<InstanceTable> instances;
  Tables<DeviceTable> devices;
  Count count;
  std::mutex mutex;
  std::unordered_map<VkDeviceMemory, Block> blocks;  // guarded by mutex
};

State& TheState() {
  static State* const state = [] {
    auto* const made = new State;
    const char* const text = std::getenv("METE_VULKAN_RULES");
    if (const auto rules = ParseRules(text == nullptr ? "" : text); rules) {
      made->count.SetRules(*rules);
    } else {
      std::fprintf(stderr, "mete: %s\n", rules.error().message.c_str());
    }
    return made;
  }();
  return *state;
}

thread_local std::int64_t budget_queries = 0;

// The link of the chain that is meant for this layer.
template <class Link>
Link* FindLink(const void* chain, VkStructureType type) {
  for (auto* at = static_cast<const VkBaseInStructure*>(chain); at != nullptr; at = at->pNext) {
    auto* const link = reinterpret_cast<Link*>(const_cast<VkBaseInStructure*>(at));
    if (at->sType == type && link->function == VK_LAYER_LINK_INFO) return link;
  }
  return nullptr;
}

VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo* info,
                                              const VkAllocationCallbacks* callbacks,
                                              VkInstance* instance) {
  auto* const link = FindLink<VkLayerInstanceCreateInfo>(
      info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
  if (link == nullptr) return VK_ERROR_INITIALIZATION_FAILED;
  const PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  const auto create =
      reinterpret_cast<PFN_vkCreateInstance>(next(VK_NULL_HANDLE, "vkCreateInstance"));
  if (create == nullptr) return VK_ERROR_INITIALIZATION_FAILED;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  const VkResult result = create(info, callbacks, instance);
  if (result != VK_SUCCESS) return result;
  InstanceTable table = LoadInstanceTable(*instance, next);
  table.rules = TheState().count.rules();
  TheState().instances.Put(*instance, table);
  return VK_SUCCESS;
}

VKAPI_ATTR void VKAPI_CALL DestroyInstance(VkInstance instance,
                                           const VkAllocationCallbacks* callbacks) {
  if (instance == VK_NULL_HANDLE) return;
  TheState().instances.Take(instance).DestroyInstance(instance, callbacks);
}

VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice physical,
                                            const VkDeviceCreateInfo* info,
                                            const VkAllocationCallbacks* callbacks,
                                            VkDevice* device) {
  auto* const link =
      FindLink<VkLayerDeviceCreateInfo>(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
  if (link == nullptr) return VK_ERROR_INITIALIZATION_FAILED;
  const PFN_vkGetInstanceProcAddr next_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  const PFN_vkGetDeviceProcAddr next = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  const auto create =
      reinterpret_cast<PFN_vkCreateDevice>(next_instance(VK_NULL_HANDLE, "vkCreateDevice"));
  if (create == nullptr) return VK_ERROR_INITIALIZATION_FAILED;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  const VkResult result = create(physical, info, callbacks, device);
  if (result != VK_SUCCESS) return result;
  const InstanceTable& instance = TheState().instances.Of(physical);
  DeviceTable table = LoadDeviceTable(*device, next);
  instance.GetPhysicalDeviceMemoryProperties(physical, &table.memory);
  table.discrete = instance.rules.heap_count == 2;
  TheState().devices.Put(*device, table);
  return VK_SUCCESS;
}

VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice device, const VkAllocationCallbacks* callbacks) {
  if (device == VK_NULL_HANDLE) return;
  TheState().devices.Take(device).DestroyDevice(device, callbacks);
}

VKAPI_ATTR VkResult VKAPI_CALL
EnumerateDeviceExtensionProperties(VkPhysicalDevice physical, const char* layer,
                                   std::uint32_t* count, VkExtensionProperties* properties) {
  if (layer != nullptr && std::strcmp(layer, kLayerName) == 0) {
    *count = 0;
    return VK_SUCCESS;
  }
  const InstanceTable& next = TheState().instances.Of(physical);
  if (layer != nullptr || !next.rules.hide_budget) {
    return next.EnumerateDeviceExtensionProperties(physical, layer, count, properties);
  }
  std::uint32_t all = 0;
  VkResult result = next.EnumerateDeviceExtensionProperties(physical, nullptr, &all, nullptr);
  if (result != VK_SUCCESS) return result;
  std::vector<VkExtensionProperties> list(all);
  result = next.EnumerateDeviceExtensionProperties(physical, nullptr, &all, list.data());
  if (result != VK_SUCCESS) return result;
  std::erase_if(list, [](const VkExtensionProperties& extension) {
    return std::strcmp(extension.extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) == 0;
  });
  if (properties == nullptr) {
    *count = static_cast<std::uint32_t>(list.size());
    return VK_SUCCESS;
  }
  const bool all_fit = list.size() <= *count;
  if (all_fit) *count = static_cast<std::uint32_t>(list.size());
  std::copy_n(list.begin(), *count, properties);
  return all_fit ? VK_SUCCESS : VK_INCOMPLETE;
}

void ApplyHeaps(const Rules& rules, VkPhysicalDeviceMemoryProperties& memory) {
  const auto bytes = [&](std::size_t heap) {
    return static_cast<VkDeviceSize>(rules.heap_bytes[heap]);
  };
  if (rules.heap_count == 1) {
    memory.memoryHeaps[0].size = std::min(memory.memoryHeaps[0].size, bytes(0));
  }
  if (rules.heap_count != 2) return;
  memory = {};
  memory.memoryHeapCount = 2;
  memory.memoryHeaps[0] = {bytes(0), VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  memory.memoryHeaps[1] = {bytes(1), 0};
  memory.memoryTypeCount = 3;
  memory.memoryTypes[0] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0};
  memory.memoryTypes[1] = {
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, 1};
  memory.memoryTypes[2] = {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                           1};
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties* memory) {
  const InstanceTable& next = TheState().instances.Of(physical);
  next.GetPhysicalDeviceMemoryProperties(physical, memory);
  ApplyHeaps(next.rules, *memory);
}

// The budget in force, and our own count as usage; without rules what the driver says.
void ApplyBudget(const Rules& made_with, const VkPhysicalDeviceMemoryProperties& memory,
                 VkPhysicalDeviceMemoryBudgetPropertiesEXT& budget) {
  ++budget_queries;
  const Rules now = TheState().count.rules();
  if (made_with.heap_count == 0 && now.budget_count == 0) return;
  for (std::uint32_t heap = 0; heap < memory.memoryHeapCount; ++heap) {
    budget.heapBudget[heap] = heap < now.budget_count
                                  ? static_cast<VkDeviceSize>(now.budget_bytes[heap])
                                  : memory.memoryHeaps[heap].size;
    budget.heapUsage[heap] = static_cast<VkDeviceSize>(TheState().count.heap(heap).bytes);
  }
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties2(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2* memory) {
  const InstanceTable& next = TheState().instances.Of(physical);
  next.GetPhysicalDeviceMemoryProperties2(physical, memory);
  ApplyHeaps(next.rules, memory->memoryProperties);
  for (auto* at = static_cast<VkBaseOutStructure*>(memory->pNext); at != nullptr; at = at->pNext) {
    if (at->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT) {
      ApplyBudget(next.rules, memory->memoryProperties,
                  *reinterpret_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(at));
    }
  }
}

void ApplyLimits(const Rules& rules, VkPhysicalDeviceLimits& limits) {
  if (rules.max_blocks == 0) return;
  limits.maxMemoryAllocationCount =
      static_cast<std::uint32_t>(std::min<std::int64_t>(rules.max_blocks, UINT32_MAX));
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties(VkPhysicalDevice physical,
                                                       VkPhysicalDeviceProperties* properties) {
  const InstanceTable& next = TheState().instances.Of(physical);
  next.GetPhysicalDeviceProperties(physical, properties);
  ApplyLimits(next.rules, properties->limits);
}

VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(VkPhysicalDevice physical,
                                                        VkPhysicalDeviceProperties2* properties) {
  const InstanceTable& next = TheState().instances.Of(physical);
  next.GetPhysicalDeviceProperties2(physical, properties);
  ApplyLimits(next.rules, properties->properties.limits);
}

VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice device, const VkMemoryAllocateInfo* info,
                                              const VkAllocationCallbacks* callbacks,
                                              VkDeviceMemory* memory) {
  State& state = TheState();
  const DeviceTable& next = state.devices.Of(device);
  Block block{.bytes = static_cast<std::int64_t>(info->allocationSize)};
  VkMemoryAllocateInfo passed = *info;
  if (next.discrete) {
    block.heap = info->memoryTypeIndex == 0 ? 0 : 1;
    passed.memoryTypeIndex = 0;
  } else {
    block.heap = next.memory.memoryTypes[info->memoryTypeIndex].heapIndex;
  }
  switch (state.count.TryTake(block.heap, block.bytes)) {
    case Verdict::kGranted: break;
    case Verdict::kTooManyBlocks: return VK_ERROR_TOO_MANY_OBJECTS;
    case Verdict::kHeapFull:
    case Verdict::kInjected: return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  }
  const VkResult result = next.AllocateMemory(device, &passed, callbacks, memory);
  if (result != VK_SUCCESS) {
    state.count.Return(block.heap, block.bytes);
    return result;
  }
  const std::lock_guard lock(state.mutex);
  state.blocks[*memory] = block;
  return VK_SUCCESS;
}

VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice device, VkDeviceMemory memory,
                                      const VkAllocationCallbacks* callbacks) {
  if (memory == VK_NULL_HANDLE) return;
  State& state = TheState();
  Block block;
  {
    // Out of the table first: once freed, the driver may give the handle to another thread.
    const std::lock_guard lock(state.mutex);
    block = state.blocks.extract(memory).mapped();
  }
  state.devices.Of(device).FreeMemory(device, memory, callbacks);
  state.count.Return(block.heap, block.bytes);
}

void WidenTypes(const DeviceTable& table, VkMemoryRequirements& requirements) {
  if (table.discrete) requirements.memoryTypeBits = 0b111;
}

VKAPI_ATTR void VKAPI_CALL GetBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                                       VkMemoryRequirements* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetBufferMemoryRequirements(device, buffer, requirements);
  WidenTypes(next, *requirements);
}

VKAPI_ATTR void VKAPI_CALL GetBufferMemoryRequirements2(VkDevice device,
                                                        const VkBufferMemoryRequirementsInfo2* info,
                                                        VkMemoryRequirements2* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetBufferMemoryRequirements2(device, info, requirements);
  WidenTypes(next, requirements->memoryRequirements);
}

VKAPI_ATTR void VKAPI_CALL GetImageMemoryRequirements(VkDevice device, VkImage image,
                                                      VkMemoryRequirements* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetImageMemoryRequirements(device, image, requirements);
  WidenTypes(next, *requirements);
}

VKAPI_ATTR void VKAPI_CALL GetImageMemoryRequirements2(VkDevice device,
                                                       const VkImageMemoryRequirementsInfo2* info,
                                                       VkMemoryRequirements2* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetImageMemoryRequirements2(device, info, requirements);
  WidenTypes(next, requirements->memoryRequirements);
}

VKAPI_ATTR void VKAPI_CALL
GetDeviceBufferMemoryRequirements(VkDevice device, const VkDeviceBufferMemoryRequirements* info,
                                  VkMemoryRequirements2* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetDeviceBufferMemoryRequirements(device, info, requirements);
  WidenTypes(next, requirements->memoryRequirements);
}

VKAPI_ATTR void VKAPI_CALL
GetDeviceImageMemoryRequirements(VkDevice device, const VkDeviceImageMemoryRequirements* info,
                                 VkMemoryRequirements2* requirements) {
  const DeviceTable& next = TheState().devices.Of(device);
  next.GetDeviceImageMemoryRequirements(device, info, requirements);
  WidenTypes(next, requirements->memoryRequirements);
}

bool IsLost() { return TheState().count.rules().lost; }

VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit(VkQueue queue, std::uint32_t count,
                                           const VkSubmitInfo* submits, VkFence fence) {
  if (IsLost()) return VK_ERROR_DEVICE_LOST;
  return TheState().devices.Of(queue).QueueSubmit(queue, count, submits, fence);
}

VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit2(VkQueue queue, std::uint32_t count,
                                            const VkSubmitInfo2* submits, VkFence fence) {
  if (IsLost()) return VK_ERROR_DEVICE_LOST;
  return TheState().devices.Of(queue).QueueSubmit2(queue, count, submits, fence);
}

VKAPI_ATTR VkResult VKAPI_CALL WaitSemaphores(VkDevice device, const VkSemaphoreWaitInfo* info,
                                              std::uint64_t timeout) {
  if (IsLost()) return VK_ERROR_DEVICE_LOST;
  return TheState().devices.Of(device).WaitSemaphores(device, info, timeout);
}

VKAPI_ATTR VkResult VKAPI_CALL GetSemaphoreCounterValue(VkDevice device, VkSemaphore semaphore,
                                                        std::uint64_t* value) {
  if (IsLost()) return VK_ERROR_DEVICE_LOST;
  return TheState().devices.Of(device).GetSemaphoreCounterValue(device, semaphore, value);
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance, const char* name);
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char* name);

struct Hook {
  const char* name;
  PFN_vkVoidFunction function;
  bool of_device;
};

template <class Function>
PFN_vkVoidFunction Erase(Function function) {
  return reinterpret_cast<PFN_vkVoidFunction>(function);
}

PFN_vkVoidFunction FindHook(const char* name, bool of_device) {
  static const Hook hooks[] = {
      {"vkGetInstanceProcAddr", Erase(GetInstanceProcAddr), false},
      {"vkCreateInstance", Erase(CreateInstance), false},
      {"vkDestroyInstance", Erase(DestroyInstance), false},
      {"vkCreateDevice", Erase(CreateDevice), false},
      {"vkEnumerateDeviceExtensionProperties", Erase(EnumerateDeviceExtensionProperties), false},
      {"vkGetPhysicalDeviceMemoryProperties", Erase(GetPhysicalDeviceMemoryProperties), false},
      {"vkGetPhysicalDeviceMemoryProperties2", Erase(GetPhysicalDeviceMemoryProperties2), false},
      {"vkGetPhysicalDeviceProperties", Erase(GetPhysicalDeviceProperties), false},
      {"vkGetPhysicalDeviceProperties2", Erase(GetPhysicalDeviceProperties2), false},
      {"vkGetDeviceProcAddr", Erase(GetDeviceProcAddr), true},
      {"vkDestroyDevice", Erase(DestroyDevice), true},
      {"vkAllocateMemory", Erase(AllocateMemory), true},
      {"vkFreeMemory", Erase(FreeMemory), true},
      {"vkGetBufferMemoryRequirements", Erase(GetBufferMemoryRequirements), true},
      {"vkGetBufferMemoryRequirements2", Erase(GetBufferMemoryRequirements2), true},
      {"vkGetImageMemoryRequirements", Erase(GetImageMemoryRequirements), true},
      {"vkGetImageMemoryRequirements2", Erase(GetImageMemoryRequirements2), true},
      {"vkGetDeviceBufferMemoryRequirements", Erase(GetDeviceBufferMemoryRequirements), true},
      {"vkGetDeviceImageMemoryRequirements", Erase(GetDeviceImageMemoryRequirements), true},
      {"vkQueueSubmit", Erase(QueueSubmit), true},
      {"vkQueueSubmit2", Erase(QueueSubmit2), true},
      {"vkWaitSemaphores", Erase(WaitSemaphores), true},
      {"vkGetSemaphoreCounterValue", Erase(GetSemaphoreCounterValue), true},
  };
  std::string_view wanted(name);
  if (wanted.ends_with("KHR")) wanted.remove_suffix(3);
  for (const Hook& hook : hooks) {
    if (wanted == hook.name && (hook.of_device || !of_device)) return hook.function;
  }
  return nullptr;
}

// What the driver lacks must stay absent, so the chain is asked first.
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance,
                                                             const char* name) {
  if (instance == VK_NULL_HANDLE) return FindHook(name, false);
  const PFN_vkVoidFunction next =
      TheState().instances.Of(instance).GetInstanceProcAddr(instance, name);
  if (next == nullptr) return nullptr;
  const PFN_vkVoidFunction hook = FindHook(name, false);
  return hook != nullptr ? hook : next;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char* name) {
  const PFN_vkVoidFunction next = TheState().devices.Of(device).GetDeviceProcAddr(device, name);
  if (next == nullptr) return nullptr;
  const PFN_vkVoidFunction hook = FindHook(name, true);
  return hook != nullptr ? hook : next;
}

}  // namespace
}  // namespace mete::layer

extern "C" {

VK_LAYER_EXPORT VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface* version) {
  if (version->loaderLayerInterfaceVersion < 2) return VK_ERROR_INITIALIZATION_FAILED;
  version->loaderLayerInterfaceVersion = 2;
  version->pfnGetInstanceProcAddr = mete::layer::GetInstanceProcAddr;
  version->pfnGetDeviceProcAddr = mete::layer::GetDeviceProcAddr;
  version->pfnGetPhysicalDeviceProcAddr = nullptr;
  return VK_SUCCESS;
}

VK_LAYER_EXPORT int mete_layer_set_rules(const char* text) {
  const auto rules = mete::layer::ParseRules(text);
  if (!rules) return -1;
  mete::layer::TheState().count.SetRules(*rules);
  return 0;
}

VK_LAYER_EXPORT mete_layer_heap mete_layer_heap_count(std::uint32_t heap) {
  if (heap >= mete::layer::kHeaps) return {};
  const mete::layer::HeapCount count = mete::layer::TheState().count.heap(heap);
  return {count.blocks, count.bytes, count.peak_bytes};
}

VK_LAYER_EXPORT std::int64_t mete_layer_blocks_tried(void) {
  return mete::layer::TheState().count.tried();
}

VK_LAYER_EXPORT std::int64_t mete_layer_budget_queries(void) { return mete::layer::budget_queries; }

}  // extern "C"
