// VulkanTransferQueue: batches of copies on one VkQueue, with a timeline semaphore.
#include <vulkan/vulkan.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "mete/transfer_queue.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/functions.h"
#include "vulkan/resources.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;

class Queue final : public ITransferQueue {
 public:
  Queue(const VulkanDevice& device, const VulkanFunctions& functions, VkQueue queue)
      : device_(device), vk_(functions), queue_(queue) {}
  ~Queue() override;
  VkResult Open(std::uint32_t family);

  DeviceResult<std::uint64_t> Reached() noexcept override;
  DeviceResult<void> Wait(std::uint64_t value, std::chrono::nanoseconds timeout) noexcept override;
  DeviceResult<std::uint64_t> Submit(std::span<const BufferCopy> copies) noexcept override;

 private:
  // A command buffer, free again once the timeline has reached `value`.
  struct Commands {
    VkCommandBuffer buffer = VK_NULL_HANDLE;
    std::uint64_t value = 0;
  };
  DeviceResult<Commands*> TakeCommands() noexcept;
  VkResult Record(VkCommandBuffer commands, std::span<const BufferCopy> copies) noexcept;

  VulkanDevice device_;
  VulkanFunctions vk_;
  VkQueue queue_;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::mutex mutex_;  // guards what follows, and the queue
  VkCommandPool pool_ = VK_NULL_HANDLE;
  std::vector<Commands> commands_;
  std::uint64_t submitted_ = 0;
};

VkResult Queue::Open(std::uint32_t family) {
  const VkSemaphoreTypeCreateInfo type{.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                       .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  const VkSemaphoreCreateInfo semaphore{.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                        .pNext = &type};
  const VkResult result =
      vk_.CreateSemaphore(device_.device, &semaphore, device_.callbacks, &timeline_);
  if (result != VK_SUCCESS) return result;
  const VkCommandPoolCreateInfo pool{.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT |
                                              VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                     .queueFamilyIndex = family};
  return vk_.CreateCommandPool(device_.device, &pool, device_.callbacks, &pool_);
}

// What was submitted is waited for: its command buffers may not go before.
Queue::~Queue() {
  if (submitted_ != 0) static_cast<void>(Wait(submitted_, std::chrono::nanoseconds::max()));
  vk_.DestroyCommandPool(device_.device, pool_, device_.callbacks);
  vk_.DestroySemaphore(device_.device, timeline_, device_.callbacks);
}

DeviceResult<std::uint64_t> Queue::Reached() noexcept {
  std::uint64_t value = 0;
  const VkResult result = vk_.GetSemaphoreCounterValue(device_.device, timeline_, &value);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  return value;
}

DeviceResult<void> Queue::Wait(std::uint64_t value, std::chrono::nanoseconds timeout) noexcept {
  const VkSemaphoreWaitInfo info{.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                 .semaphoreCount = 1,
                                 .pSemaphores = &timeline_,
                                 .pValues = &value};
  const auto nanoseconds = static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
  const VkResult result = vk_.WaitSemaphores(device_.device, &info, nanoseconds);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  return {};
}

// One that is free again, or a new one. REQUIRES: the lock.
DeviceResult<Queue::Commands*> Queue::TakeCommands() noexcept {
  const auto reached = Reached();
  if (!reached) return std::unexpected(reached.error());
  for (Commands& commands : commands_) {
    if (commands.value <= *reached) return &commands;
  }
  const VkCommandBufferAllocateInfo info{.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = pool_,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = 1};
  Commands made;
  const VkResult result = vk_.AllocateCommandBuffers(device_.device, &info, &made.buffer);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  commands_.push_back(made);
  return &commands_.back();
}

// Batches run one after another on the queue but may overlap there, so each waits for the writes of
// those before it; what the host wrote is visible by submitting (Vulkan 1.3, section 7.9).
VkResult Queue::Record(VkCommandBuffer commands, std::span<const BufferCopy> copies) noexcept {
  const VkCommandBufferBeginInfo begin{.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  if (const VkResult result = vk_.BeginCommandBuffer(commands, &begin); result != VK_SUCCESS) {
    return result;
  }
  VkMemoryBarrier2 barrier{
      .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2,
      .srcStageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
      .srcAccessMask = VK_ACCESS_2_MEMORY_WRITE_BIT,
      .dstStageMask = VK_PIPELINE_STAGE_2_COPY_BIT,
      .dstAccessMask = VK_ACCESS_2_TRANSFER_READ_BIT | VK_ACCESS_2_TRANSFER_WRITE_BIT};
  const VkDependencyInfo dependency{.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
                                    .memoryBarrierCount = 1,
                                    .pMemoryBarriers = &barrier};
  vk_.CmdPipelineBarrier2(commands, &dependency);
  for (const BufferCopy& copy : copies) {
    const VkBufferCopy region{.srcOffset = static_cast<VkDeviceSize>(copy.source_offset),
                              .dstOffset = static_cast<VkDeviceSize>(copy.target_offset),
                              .size = static_cast<VkDeviceSize>(copy.bytes)};
    vk_.CmdCopyBuffer(commands, ToVulkan(copy.source), ToVulkan(copy.target), 1, &region);
  }
  barrier.srcStageMask = VK_PIPELINE_STAGE_2_COPY_BIT;
  barrier.srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT;
  barrier.dstStageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_2_HOST_BIT;
  barrier.dstAccessMask =
      VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT | VK_ACCESS_2_HOST_READ_BIT;
  vk_.CmdPipelineBarrier2(commands, &dependency);
  return vk_.EndCommandBuffer(commands);
}

DeviceResult<std::uint64_t> Queue::Submit(std::span<const BufferCopy> copies) noexcept {
  const auto is_bad = [](const BufferCopy& copy) {
    return copy.source == BufferHandle::kNone || copy.target == BufferHandle::kNone ||
           copy.source_offset < 0 || copy.target_offset < 0 || copy.bytes <= 0;
  };
  if (copies.empty() || std::ranges::any_of(copies, is_bad)) {
    return std::unexpected(DeviceError{.reason = Reason::kArgument});
  }
  const std::lock_guard lock(mutex_);
  const auto commands = TakeCommands();
  if (!commands) return std::unexpected(commands.error());
  VkResult result = Record((*commands)->buffer, copies);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  const std::uint64_t value = submitted_ + 1;
  const VkCommandBufferSubmitInfo buffer{.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
                                         .commandBuffer = (*commands)->buffer};
  const VkSemaphoreSubmitInfo signal{.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
                                     .semaphore = timeline_,
                                     .value = value,
                                     .stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT};
  const VkSubmitInfo2 submit{.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
                             .commandBufferInfoCount = 1,
                             .pCommandBufferInfos = &buffer,
                             .signalSemaphoreInfoCount = 1,
                             .pSignalSemaphoreInfos = &signal};
  result = vk_.QueueSubmit2(queue_, 1, &submit, VK_NULL_HANDLE);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
  submitted_ = value;
  (*commands)->value = value;
  return value;
}

}  // namespace

Result<std::unique_ptr<ITransferQueue>> VulkanTransferQueue::Open(const VulkanDevice& device,
                                                                  VkQueue queue,
                                                                  std::uint32_t family) {
  const auto functions = VulkanFunctions::Load(device);
  if (!functions) return std::unexpected(functions.error());
  if (queue == VK_NULL_HANDLE) return Fail(ErrorCode::kInvalidArgument, "queue: it is null");
  auto made = std::make_unique<Queue>(device, *functions, queue);
  if (const VkResult result = made->Open(family); result != VK_SUCCESS) {
    return std::unexpected(ToDeviceError(result, 0).ToError());
  }
  return made;
}

}  // namespace mete
