#include "vulkan/test_stand.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace mete {
namespace {

// A stand that cannot be opened makes every test of the program meaningless.
void Require(bool met, const char* what) {
  if (met) return;
  std::fprintf(stderr, "the test stand: %s failed\n", what);
  std::abort();
}

template <class Function>
Function Find(void* library, const char* name) {
  void* const found = dlsym(library, name);
  Require(found != nullptr, name);
  return reinterpret_cast<Function>(found);
}

// The loader reads these when an instance is made. The system's own drivers are not looked at.
LayerControl LoadLayer() {
  setenv("VK_DRIVER_FILES", METE_LAVAPIPE, 1);
  setenv("VK_ICD_FILENAMES", METE_LAVAPIPE, 1);
  setenv("VK_ADD_LAYER_PATH", METE_LAYER_FOLDER, 1);
  void* const library = dlopen(METE_LAYER_FOLDER "/libmete_vulkan_layer.so", RTLD_NOW);
  Require(library != nullptr, "loading the layer");
  return {
      .SetRules = Find<decltype(&mete_layer_set_rules)>(library, "mete_layer_set_rules"),
      .HeapCount = Find<decltype(&mete_layer_heap_count)>(library, "mete_layer_heap_count"),
      .BlocksTried = Find<decltype(&mete_layer_blocks_tried)>(library, "mete_layer_blocks_tried"),
      .BudgetQueries =
          Find<decltype(&mete_layer_budget_queries)>(library, "mete_layer_budget_queries")};
}

}  // namespace

TestStand::TestStand(const char* rules, Layers layers) {
  static const LayerControl control = LoadLayer();
  layer_ = control;
  SetRules(rules);
  OpenInstance(layers);
  OpenDevice();
}

TestStand::~TestStand() {
  SetRules("");  // a lost device answers again, so that it can be waited for
  vkDeviceWaitIdle(device_.device);
  vkDestroyDevice(device_.device, nullptr);
  const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
      vkGetInstanceProcAddr(device_.instance, "vkDestroyDebugUtilsMessengerEXT"));
  destroy(device_.instance, messenger_, nullptr);
  vkDestroyInstance(device_.instance, nullptr);
  const std::vector<std::string> messages = TakeMessages();
  for (const std::string& message : messages) std::fprintf(stderr, "%s\n", message.c_str());
  Require(messages.empty(), "staying without messages of the validation layers");
  Require(LayerBlocks() == 0, "freeing all device memory");
}

void TestStand::SetRules(const std::string& rules) const {
  Require(layer_.SetRules(rules.c_str()) == 0, "setting the rules of the layer");
}

std::int64_t TestStand::LayerBlocks() const {
  std::int64_t blocks = 0;
  for (std::uint32_t heap = 0; heap < kMaxMemoryHeaps; ++heap) {
    blocks += layer_.HeapCount(heap).blocks;
  }
  return blocks;
}

std::vector<std::string> TestStand::TakeMessages() {
  const std::lock_guard lock(mutex_);
  return std::exchange(messages_, {});
}

VkBool32 TestStand::Heard(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                          const VkDebugUtilsMessengerCallbackDataEXT* data, void* self) {
  auto& stand = *static_cast<TestStand*>(self);
  const std::lock_guard lock(stand.mutex_);
  stand.messages_.emplace_back(data->pMessage);
  return VK_FALSE;
}

void TestStand::OpenInstance(Layers layers) {
  const VkApplicationInfo application{.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                      .apiVersion = VK_API_VERSION_1_3};
  // In the order of calls: what validation lets through is what mete's layer sees.
  constexpr std::array kLayers = {"VK_LAYER_KHRONOS_validation", "VK_LAYER_METE_memory"};
  constexpr std::array kExtensions = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  const VkDebugUtilsMessengerCreateInfoEXT messenger{
      .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
      .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                         VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
      .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT |
                     VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                     VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
      .pfnUserCallback = Heard,
      .pUserData = this};
  const VkInstanceCreateInfo info{
      .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
      .pNext = &messenger,
      .pApplicationInfo = &application,
      .enabledLayerCount = layers == Layers::kAll ? std::uint32_t{kLayers.size()} : 0,
      .ppEnabledLayerNames = kLayers.data(),
      .enabledExtensionCount = kExtensions.size(),
      .ppEnabledExtensionNames = kExtensions.data()};
  Require(vkCreateInstance(&info, nullptr, &device_.instance) == VK_SUCCESS, "vkCreateInstance");
  const auto create = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      vkGetInstanceProcAddr(device_.instance, "vkCreateDebugUtilsMessengerEXT"));
  Require(create(device_.instance, &messenger, nullptr, &messenger_) == VK_SUCCESS,
          "vkCreateDebugUtilsMessengerEXT");
  device_.debug_names = true;
  std::uint32_t count = 1;
  vkEnumeratePhysicalDevices(device_.instance, &count, &device_.physical);
  Require(count == 1, "finding one device");
}

void TestStand::OpenDevice() {
  std::uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device_.physical, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> found(count);
  vkEnumerateDeviceExtensionProperties(device_.physical, nullptr, &count, found.data());
  std::vector<const char*> enabled;
  const auto enable = [&](const char* name) {
    const bool has = std::ranges::any_of(found, [name](const VkExtensionProperties& extension) {
      return std::strcmp(extension.extensionName, name) == 0;
    });
    if (has) enabled.push_back(name);
    return has;
  };
  device_.memory_budget = enable(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  device_.memory_priority = enable(VK_EXT_MEMORY_PRIORITY_EXTENSION_NAME);

  VkPhysicalDeviceMemoryPriorityFeaturesEXT priority{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT,
      .memoryPriority = VK_TRUE};
  VkPhysicalDeviceVulkan13Features features13{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
      .pNext = device_.memory_priority ? &priority : nullptr,
      .synchronization2 = VK_TRUE,
      .maintenance4 = VK_TRUE};
  const VkPhysicalDeviceVulkan12Features features12{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
      .pNext = &features13,
      .timelineSemaphore = VK_TRUE};
  constexpr float kPriority = 1;
  const VkDeviceQueueCreateInfo queue{.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueFamilyIndex = family_,
                                      .queueCount = 1,
                                      .pQueuePriorities = &kPriority};
  const VkDeviceCreateInfo info{.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                .pNext = &features12,
                                .queueCreateInfoCount = 1,
                                .pQueueCreateInfos = &queue,
                                .enabledExtensionCount = static_cast<std::uint32_t>(enabled.size()),
                                .ppEnabledExtensionNames = enabled.data()};
  Require(vkCreateDevice(device_.physical, &info, nullptr, &device_.device) == VK_SUCCESS,
          "vkCreateDevice");
  vkGetDeviceQueue(device_.device, family_, 0, &queue_);
}

}  // namespace mete
