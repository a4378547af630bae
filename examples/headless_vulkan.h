// What the example on Vulkan needs of Vulkan itself: a device without a window, and one compute
// shader over four buffers. Nothing here allocates device memory.
#pragma once

#include <vulkan/vulkan.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "mete/vulkan/allocators.h"

namespace example {

inline void Require(VkResult result, const char* what) {
  if (result == VK_SUCCESS) return;
  std::fprintf(stderr, "%s: the driver answers %d\n", what, static_cast<int>(result));
  std::exit(1);
}

// The first device that there is, with one queue that computes. What the driver takes on the host
// for it, and for all that is made with it, goes through `callbacks`.
class HeadlessDevice {
 public:
  explicit HeadlessDevice(const VkAllocationCallbacks* callbacks) : callbacks_(callbacks) {
    VkApplicationInfo application{};
    application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
    application.apiVersion = VK_API_VERSION_1_3;
    VkInstanceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
    info.pApplicationInfo = &application;
    Require(vkCreateInstance(&info, callbacks_, &instance_), "an instance of Vulkan 1.3");
    std::uint32_t count = 1;
    const VkResult found = vkEnumeratePhysicalDevices(instance_, &count, &physical_);
    Require(count == 1 && found >= 0 ? VK_SUCCESS : VK_ERROR_INITIALIZATION_FAILED, "a device");
    OpenDevice();
  }
  ~HeadlessDevice() {
    vkDestroyDevice(device_, callbacks_);
    vkDestroyInstance(instance_, callbacks_);
  }
  HeadlessDevice(const HeadlessDevice&) = delete;
  HeadlessDevice& operator=(const HeadlessDevice&) = delete;

  mete::VulkanDevice ForMete() const {
    mete::VulkanDevice device;
    device.instance = instance_;
    device.physical = physical_;
    device.device = device_;
    device.memory_budget = memory_budget_;
    device.callbacks = callbacks_;
    return device;
  }
  const VkAllocationCallbacks* callbacks() const { return callbacks_; }
  VkDevice device() const { return device_; }
  VkQueue queue() const { return queue_; }
  std::uint32_t family() const { return family_; }
  const std::string& name() const { return name_; }

 private:
  void OpenDevice() {
    VkPhysicalDeviceProperties properties{};
    vkGetPhysicalDeviceProperties(physical_, &properties);
    name_ = properties.deviceName;
    std::uint32_t count = 0;
    vkGetPhysicalDeviceQueueFamilyProperties(physical_, &count, nullptr);
    std::vector<VkQueueFamilyProperties> families(count);
    vkGetPhysicalDeviceQueueFamilyProperties(physical_, &count, families.data());
    while (family_ + 1 < count && (families[family_].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) {
      ++family_;
    }
    std::vector<const char*> extensions;
    vkEnumerateDeviceExtensionProperties(physical_, nullptr, &count, nullptr);
    std::vector<VkExtensionProperties> known(count);
    vkEnumerateDeviceExtensionProperties(physical_, nullptr, &count, known.data());
    for (const VkExtensionProperties& extension : known) {
      if (std::strcmp(extension.extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) != 0) continue;
      extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
      memory_budget_ = true;
    }
    VkPhysicalDeviceVulkan13Features features13{};
    features13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
    features13.synchronization2 = VK_TRUE;
    features13.maintenance4 = VK_TRUE;
    VkPhysicalDeviceVulkan12Features features12{};
    features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    features12.pNext = &features13;
    features12.timelineSemaphore = VK_TRUE;
    const float priority = 1;
    VkDeviceQueueCreateInfo queue{};
    queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
    queue.queueFamilyIndex = family_;
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    VkDeviceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
    info.pNext = &features12;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
    info.ppEnabledExtensionNames = extensions.data();
    Require(vkCreateDevice(physical_, &info, callbacks_, &device_), "opening the device");
    vkGetDeviceQueue(device_, family_, 0, &queue_);
  }

  const VkAllocationCallbacks* callbacks_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::uint32_t family_ = 0;
  bool memory_budget_ = false;
  std::string name_;
};

// A compute shader that reads two storage buffers, writes a third, and finds in a fourth what is
// new in a frame. Everything is made and recorded once; Run only submits. What the driver takes on
// the host for it goes through `callbacks`.
class ComputePass {
 public:
  struct Constants {  // of the fourth buffer
    std::uint32_t side = 0;
    float sun = 0;
  };

  ComputePass(const HeadlessDevice& device, std::span<const std::uint32_t> shader,
              std::array<VkBuffer, 4> buffers, std::uint32_t side)
      : device_(device), vk_(device.device()), callbacks_(device.callbacks()) {
    MakePipeline(shader);
    MakeSet(buffers);
    MakeCommands();
    Record(side);
  }
  ~ComputePass() {
    vkDeviceWaitIdle(vk_);
    vkDestroySemaphore(vk_, done_, callbacks_);
    vkDestroyCommandPool(vk_, pool_, callbacks_);
    vkDestroyDescriptorPool(vk_, set_pool_, callbacks_);
    vkDestroyPipeline(vk_, pipeline_, callbacks_);
    vkDestroyPipelineLayout(vk_, layout_, callbacks_);
    vkDestroyDescriptorSetLayout(vk_, set_layout_, callbacks_);
    vkDestroyShaderModule(vk_, module_, callbacks_);
  }
  ComputePass(const ComputePass&) = delete;
  ComputePass& operator=(const ComputePass&) = delete;

  // Runs it once, and waits until the device has.
  void Run() {
    VkCommandBufferSubmitInfo buffer{};
    buffer.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
    buffer.commandBuffer = commands_;
    VkSemaphoreSubmitInfo signal{};
    signal.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
    signal.semaphore = done_;
    signal.value = ++value_;
    signal.stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
    VkSubmitInfo2 submit{};
    submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
    submit.commandBufferInfoCount = 1;
    submit.pCommandBufferInfos = &buffer;
    submit.signalSemaphoreInfoCount = 1;
    submit.pSignalSemaphoreInfos = &signal;
    Require(vkQueueSubmit2(device_.queue(), 1, &submit, VK_NULL_HANDLE), "submitting");
    VkSemaphoreWaitInfo wait{};
    wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
    wait.semaphoreCount = 1;
    wait.pSemaphores = &done_;
    wait.pValues = &value_;
    Require(vkWaitSemaphores(vk_, &wait, UINT64_MAX), "waiting for the device");
  }

 private:
  // Over side x side pixels.
  void Record(std::uint32_t side) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    Require(vkBeginCommandBuffer(commands_, &begin), "recording");
    Wait(VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT);
    vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline_);
    vkCmdBindDescriptorSets(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, layout_, 0, 1, &set_, 0,
                            nullptr);
    vkCmdDispatch(commands_, (side + 7) / 8, (side + 7) / 8, 1);
    Wait(VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT);
    Require(vkEndCommandBuffer(commands_), "recording");
  }

  // What the first stage wrote is there for the second.
  void Wait(VkPipelineStageFlags2 first, VkPipelineStageFlags2 second) {
    VkMemoryBarrier2 barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
    barrier.srcStageMask = first;
    barrier.srcAccessMask = VK_ACCESS_2_MEMORY_WRITE_BIT;
    barrier.dstStageMask = second;
    barrier.dstAccessMask = VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT;
    VkDependencyInfo dependency{};
    dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
    dependency.memoryBarrierCount = 1;
    dependency.pMemoryBarriers = &barrier;
    vkCmdPipelineBarrier2(commands_, &dependency);
  }

  void MakePipeline(std::span<const std::uint32_t> shader) {
    VkShaderModuleCreateInfo module{};
    module.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
    module.codeSize = shader.size_bytes();
    module.pCode = shader.data();
    Require(vkCreateShaderModule(vk_, &module, callbacks_, &module_), "the shader");
    std::array<VkDescriptorSetLayoutBinding, 4> bindings{};
    for (std::uint32_t i = 0; i < bindings.size(); ++i) {
      bindings[i].binding = i;
      bindings[i].descriptorType = TypeOf(i);
      bindings[i].descriptorCount = 1;
      bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
    }
    VkDescriptorSetLayoutCreateInfo set{};
    set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
    set.bindingCount = bindings.size();
    set.pBindings = bindings.data();
    Require(vkCreateDescriptorSetLayout(vk_, &set, callbacks_, &set_layout_), "the set's layout");
    VkPipelineLayoutCreateInfo layout{};
    layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
    layout.setLayoutCount = 1;
    layout.pSetLayouts = &set_layout_;
    Require(vkCreatePipelineLayout(vk_, &layout, callbacks_, &layout_), "the pipeline's layout");
    VkComputePipelineCreateInfo pipeline{};
    pipeline.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
    pipeline.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
    pipeline.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
    pipeline.stage.module = module_;
    pipeline.stage.pName = "main";
    pipeline.layout = layout_;
    Require(vkCreateComputePipelines(vk_, VK_NULL_HANDLE, 1, &pipeline, callbacks_, &pipeline_),
            "the pipeline");
  }

  static VkDescriptorType TypeOf(std::uint32_t binding) {
    return binding < 3 ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER;
  }

  void MakeSet(const std::array<VkBuffer, 4>& buffers) {
    const std::array<VkDescriptorPoolSize, 2> sizes{{{TypeOf(0), 3}, {TypeOf(3), 1}}};
    VkDescriptorPoolCreateInfo pool{};
    pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
    pool.maxSets = 1;
    pool.poolSizeCount = sizes.size();
    pool.pPoolSizes = sizes.data();
    Require(vkCreateDescriptorPool(vk_, &pool, callbacks_, &set_pool_), "the descriptor pool");
    VkDescriptorSetAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
    info.descriptorPool = set_pool_;
    info.descriptorSetCount = 1;
    info.pSetLayouts = &set_layout_;
    Require(vkAllocateDescriptorSets(vk_, &info, &set_), "the descriptor set");
    std::array<VkDescriptorBufferInfo, 4> ranges{};
    std::array<VkWriteDescriptorSet, 4> writes{};
    for (std::uint32_t i = 0; i < writes.size(); ++i) {
      ranges[i] = {buffers[i], 0, VK_WHOLE_SIZE};
      writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
      writes[i].dstSet = set_;
      writes[i].dstBinding = i;
      writes[i].descriptorCount = 1;
      writes[i].descriptorType = TypeOf(i);
      writes[i].pBufferInfo = &ranges[i];
    }
    vkUpdateDescriptorSets(vk_, writes.size(), writes.data(), 0, nullptr);
  }

  void MakeCommands() {
    VkCommandPoolCreateInfo pool{};
    pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    pool.queueFamilyIndex = device_.family();
    Require(vkCreateCommandPool(vk_, &pool, callbacks_, &pool_), "the command pool");
    VkCommandBufferAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    info.commandPool = pool_;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    Require(vkAllocateCommandBuffers(vk_, &info, &commands_), "the command buffer");
    VkSemaphoreTypeCreateInfo type{};
    type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
    type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
    VkSemaphoreCreateInfo semaphore{};
    semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
    semaphore.pNext = &type;
    Require(vkCreateSemaphore(vk_, &semaphore, callbacks_, &done_), "the semaphore");
  }

  const HeadlessDevice& device_;
  VkDevice vk_;
  const VkAllocationCallbacks* callbacks_;
  VkShaderModule module_ = VK_NULL_HANDLE;
  VkDescriptorSetLayout set_layout_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
  VkDescriptorPool set_pool_ = VK_NULL_HANDLE;
  VkDescriptorSet set_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkSemaphore done_ = VK_NULL_HANDLE;
  std::uint64_t value_ = 0;
};

}  // namespace example
