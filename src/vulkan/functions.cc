#include "vulkan/functions.h"

#include <string>

namespace mete {

Result<VulkanFunctions> VulkanFunctions::Load(const VulkanDevice& device) {
  if (device.instance == VK_NULL_HANDLE || device.physical == VK_NULL_HANDLE ||
      device.device == VK_NULL_HANDLE) {
    return Fail(ErrorCode::kInvalidArgument,
                "device: instance, physical and device must all be given");
  }
  VkPhysicalDeviceProperties properties{};
  vkGetPhysicalDeviceProperties(device.physical, &properties);
  if (properties.apiVersion < VK_API_VERSION_1_3) {
    return Fail(ErrorCode::kInvalidArgument,
                "device: Vulkan 1.3 is needed: it has 1." +
                    std::to_string(VK_API_VERSION_MINOR(properties.apiVersion)));
  }
  VulkanFunctions functions;
  const char* missing = nullptr;
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
        vkGetDeviceProcAddr(device.device, name));
    if (function == nullptr) missing = name;
  };
#define METE_LOAD(name) load(functions.name, "vk" #name);
  METE_VULKAN_FUNCTIONS(METE_LOAD)
#undef METE_LOAD
  if (device.debug_names) {
    load(functions.SetDebugUtilsObjectNameEXT, "vkSetDebugUtilsObjectNameEXT");
  }
  if (missing != nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                std::string("device: it lacks a function: ") + missing);
  }
  return functions;
}

}  // namespace mete
