// VMAAllocator: VMA behind IMemoryAllocator.
//
// VMA is given our vkAllocateMemory and vkFreeMemory. They have no argument that says for whom, so
// each call into VMA leaves in `current` which allocator it is for, on the thread that makes it;
// VMA calls the two on that thread only. What they find out on the way (the gate said no, the
// driver's own answer) comes back the same way, since VMA turns most of it into "out of device
// memory".
//
// One lock stands for VMA's own, which are switched off: a buffer that is made and destroyed takes
// four of those, and two of this. Making and destroying the Vulkan object is outside of it.
#include <vulkan/vulkan.h>

#include <bit>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "base/parking_lock.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/gated.h"
#include "vulkan/resources.h"
#include "vulkan/vma.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;

// One call into VMA, or some in a row. Holds the lock, so these do not nest.
class Entered {
 public:
  Entered(GatedMemory& gated, ParkingLock& mutex) noexcept : lock_(mutex), gated_(&gated) {
    current = this;
  }
  ~Entered() { current = nullptr; }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

  static VkResult VKAPI_CALL Allocate(VkDevice, const VkMemoryAllocateInfo* info,
                                      const VkAllocationCallbacks*,
                                      VkDeviceMemory* memory) noexcept {
    Entered& self = *current;
    const VkResult result = self.gated_->Allocate(*info, memory, self.refused_);
    if (result != VK_SUCCESS) self.failure_ = result;
    return result;
  }

  // VMA announces what it frees before it does.
  static void VKAPI_CALL Announce(VmaAllocator, std::uint32_t type, VkDeviceMemory,
                                  VkDeviceSize bytes, void*) noexcept {
    current->type_ = type;
    current->bytes_ = static_cast<std::int64_t>(bytes);
    ++current->freed_blocks_;
    current->freed_bytes_ += static_cast<std::int64_t>(bytes);
  }
  static void VKAPI_CALL Free(VkDevice, VkDeviceMemory memory,
                              const VkAllocationCallbacks*) noexcept {
    current->gated_->Free(memory, current->type_, current->bytes_);
  }

  // The error that the result stands for.
  DeviceError ToError(VkResult result, std::int64_t bytes,
                      const MemoryRequest& request) const noexcept {
    if (refused_ && result == VK_ERROR_OUT_OF_DEVICE_MEMORY) {
      return {.reason = Reason::kBudget, .native = result, .bytes = bytes};
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY && failure_ == VK_SUCCESS) {
      // VMA asked no driver: what is there has no room, or no memory type would do.
      const bool bounded = request.existing_only || request.pool != PoolHandle::kNone;
      return {.reason = bounded ? Reason::kNoRoom : Reason::kDeviceMemory,
              .native = result,
              .bytes = bytes};
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY) result = failure_;
    return ToDeviceError(result, bytes);
  }

  std::int64_t freed_blocks() const noexcept { return freed_blocks_; }
  std::int64_t freed_bytes() const noexcept { return freed_bytes_; }

 private:
  static thread_local constinit Entered* current;

  std::lock_guard<ParkingLock> lock_;
  GatedMemory* gated_;
  bool refused_ = false;
  VkResult failure_ = VK_SUCCESS;  // the last one of the driver
  std::uint32_t type_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t freed_blocks_ = 0;
  std::int64_t freed_bytes_ = 0;
};

thread_local constinit Entered* Entered::current = nullptr;

VmaAllocation ToVma(MemoryHandle memory) noexcept { return std::bit_cast<VmaAllocation>(memory); }
MemoryHandle ToHandle(VmaAllocation allocation) noexcept {
  return std::bit_cast<MemoryHandle>(allocation);
}
VmaPool ToVma(PoolHandle pool) noexcept { return std::bit_cast<VmaPool>(pool); }
BufferHandle ToHandle(VkBuffer buffer) noexcept { return std::bit_cast<BufferHandle>(buffer); }
ImageHandle ToHandle(VkImage image) noexcept { return std::bit_cast<ImageHandle>(image); }

VmaAllocationCreateInfo ToVma(const MemoryRequest& request) noexcept {
  const TypeFlags flags = FlagsOf(request.use);
  VmaAllocationCreateInfo info{};
  if (request.dedicated) info.flags |= VMA_ALLOCATION_CREATE_DEDICATED_MEMORY_BIT;
  if (request.existing_only) info.flags |= VMA_ALLOCATION_CREATE_NEVER_ALLOCATE_BIT;
  if (request.mapped) info.flags |= VMA_ALLOCATION_CREATE_MAPPED_BIT;
  if (request.can_alias) info.flags |= VMA_ALLOCATION_CREATE_CAN_ALIAS_BIT;
  info.requiredFlags = flags.required;
  info.preferredFlags = flags.preferred;
  info.pool = ToVma(request.pool);
  info.pUserData = std::bit_cast<void*>(request.tag);
  info.priority = request.priority;
  return info;
}

std::unexpected<DeviceError> Refuse(Reason reason, std::int64_t bytes = 0) noexcept {
  return std::unexpected(DeviceError{.reason = reason, .bytes = bytes});
}

class VmaBacked final : public IMemoryAllocator {
 public:
  VmaBacked(const VulkanDevice& device, const VulkanFunctions& functions)
      : resources_(device, functions), gated_(resources_) {}
  ~VmaBacked() override {
    const Entered entered(gated_, mutex_);
    if (vma_ != nullptr) vmaDestroyAllocator(vma_);
  }
  Result<void> Open(std::int64_t block_bytes);

  const char* name() const noexcept override { return "vma"; }
  const DeviceMemoryLayout& layout() const noexcept override { return resources_.layout(); }
  Result<void> Attach(MemoryGate& gate) noexcept override { return gated_.Attach(gate); }

  DeviceResult<DeviceBuffer> CreateBuffer(const BufferDescription& description,
                                          const MemoryRequest& request) noexcept override;
  DeviceResult<DeviceImage> CreateImage(const ImageDescription& description,
                                        const MemoryRequest& request) noexcept override;
  DeviceResult<DeviceMemory> Allocate(const MemoryNeeds& needs,
                                      const MemoryRequest& request) noexcept override;
  DeviceResult<MemoryNeeds> Needs(const BufferDescription& description) noexcept override {
    return resources_.Needs(description);
  }
  DeviceResult<MemoryNeeds> Needs(const ImageDescription& description) noexcept override {
    return resources_.Needs(description);
  }
  DeviceResult<DeviceBuffer> PlaceBuffer(MemoryHandle memory, std::int64_t offset,
                                         const BufferDescription& description) noexcept override;
  DeviceResult<DeviceImage> PlaceImage(MemoryHandle memory, std::int64_t offset,
                                       const ImageDescription& description) noexcept override;
  void Destroy(const DeviceBuffer& buffer) noexcept override;
  void Destroy(const DeviceImage& image) noexcept override;
  void Free(MemoryHandle memory) noexcept override;
  DeviceResult<void*> Map(MemoryHandle memory) noexcept override;
  void Unmap(MemoryHandle memory) noexcept override {
    const std::lock_guard lock(mutex_);
    vmaUnmapMemory(vma_, ToVma(memory));
  }
  DeviceResult<void> Flush(MemoryHandle memory, std::int64_t offset,
                           std::int64_t bytes) noexcept override;
  DeviceResult<void> Invalidate(MemoryHandle memory, std::int64_t offset,
                                std::int64_t bytes) noexcept override;
  MemoryInfo Info(MemoryHandle memory) const noexcept override;
  DeviceResult<PoolHandle> CreatePool(const PoolDescription& description) noexcept override;
  void DestroyPool(PoolHandle pool) noexcept override;
  DeviceResult<DefragmentResult> Defragment(const DefragmentLimits& limits,
                                            MemoryMover& mover) noexcept override;
  MemoryStatistics Statistics() const noexcept override;
  DeviceResult<DriverBudget> QueryDriverBudget() noexcept override {
    return resources_.QueryDriverBudget();
  }

 private:
  MemoryInfo ToInfo(const VmaAllocationInfo& info) const noexcept;
  template <class Resource>
  DeviceResult<VmaAllocation> TakeFor(Resource resource, std::int64_t bytes,
                                      const MemoryRequest& request,
                                      VmaAllocationInfo& info) noexcept;
  VkResult AllocateFor(VkBuffer buffer, const VmaAllocationCreateInfo& memory,
                       VmaAllocation& allocation, VmaAllocationInfo& info) noexcept {
    return vmaAllocateMemoryForBuffer(vma_, buffer, &memory, &allocation, &info);
  }
  VkResult AllocateFor(VkImage image, const VmaAllocationCreateInfo& memory,
                       VmaAllocation& allocation, VmaAllocationInfo& info) noexcept {
    return vmaAllocateMemoryForImage(vma_, image, &memory, &allocation, &info);
  }
  VkResult Bind(VmaAllocation allocation, VkBuffer buffer, std::int64_t offset = 0) noexcept {
    return vmaBindBufferMemory2(vma_, allocation, static_cast<VkDeviceSize>(offset), buffer,
                                nullptr);
  }
  VkResult Bind(VmaAllocation allocation, VkImage image, std::int64_t offset = 0) noexcept {
    return vmaBindImageMemory2(vma_, allocation, static_cast<VkDeviceSize>(offset), image, nullptr);
  }
  bool Fits(MemoryHandle memory, std::int64_t offset, const MemoryNeeds& needs) const noexcept;

  VulkanResources resources_;
  GatedMemory gated_;
  mutable ParkingLock mutex_;  // of all calls that change or read what others change
  VmaAllocator vma_ = nullptr;
};

Result<void> VmaBacked::Open(std::int64_t block_bytes) {
  VmaVulkanFunctions functions{};
  functions.vkGetInstanceProcAddr = vkGetInstanceProcAddr;
  functions.vkGetDeviceProcAddr = vkGetDeviceProcAddr;
  functions.vkAllocateMemory = Entered::Allocate;
  functions.vkFreeMemory = Entered::Free;
  VmaDeviceMemoryCallbacks announce{};
  announce.pfnFree = Entered::Announce;
  const VulkanDevice& device = resources_.device();
  VmaAllocatorCreateInfo info{};
  info.flags = VMA_ALLOCATOR_CREATE_EXTERNALLY_SYNCHRONIZED_BIT;
  if (device.memory_priority) info.flags |= VMA_ALLOCATOR_CREATE_EXT_MEMORY_PRIORITY_BIT;
  info.physicalDevice = device.physical;
  info.device = device.device;
  info.instance = device.instance;
  info.preferredLargeHeapBlockSize = static_cast<VkDeviceSize>(block_bytes);
  info.pAllocationCallbacks = device.callbacks;
  info.pDeviceMemoryCallbacks = &announce;
  info.pVulkanFunctions = &functions;
  info.vulkanApiVersion = VK_API_VERSION_1_3;
  const Entered entered(gated_, mutex_);
  if (const VkResult result = vmaCreateAllocator(&info, &vma_); result != VK_SUCCESS) {
    vma_ = nullptr;
    return std::unexpected(ToDeviceError(result, 0).ToError());
  }
  return {};
}

MemoryInfo VmaBacked::ToInfo(const VmaAllocationInfo& info) const noexcept {
  return {.bytes = static_cast<std::int64_t>(info.size),
          .offset = static_cast<std::int64_t>(info.offset),
          .type = info.memoryType,
          .heap = layout().types[info.memoryType].heap,
          .mapped = info.pMappedData,
          .name = info.pName};
}

// Memory for the resource, bound to it. An error: the resource is as it was.
template <class Resource>
DeviceResult<VmaAllocation> VmaBacked::TakeFor(Resource resource, std::int64_t bytes,
                                               const MemoryRequest& request,
                                               VmaAllocationInfo& info) noexcept {
  const VmaAllocationCreateInfo memory_info = ToVma(request);
  VmaAllocation allocation = nullptr;
  Entered entered(gated_, mutex_);
  VkResult result = AllocateFor(resource, memory_info, allocation, info);
  if (result != VK_SUCCESS) return std::unexpected(entered.ToError(result, bytes, request));
  result = Bind(allocation, resource);
  if (result != VK_SUCCESS) {
    vmaFreeMemory(vma_, allocation);
    return std::unexpected(ToDeviceError(result, bytes));
  }
  if (request.name != nullptr) {
    vmaSetAllocationName(vma_, allocation, request.name);
    vmaGetAllocationInfo(vma_, allocation, &info);
  }
  return allocation;
}

DeviceResult<DeviceBuffer> VmaBacked::CreateBuffer(const BufferDescription& description,
                                                   const MemoryRequest& request) noexcept {
  if (!VulkanResources::IsSane(request)) return Refuse(Reason::kArgument, description.bytes);
  const auto buffer = resources_.Create(description);
  if (!buffer) return std::unexpected(buffer.error());
  VmaAllocationInfo info;
  const auto allocation = TakeFor(*buffer, description.bytes, request, info);
  if (!allocation) {
    resources_.Destroy(*buffer);
    return std::unexpected(allocation.error());
  }
  resources_.Name(*buffer, request.name);
  return DeviceBuffer{ToHandle(*buffer), ToHandle(*allocation), description.bytes, ToInfo(info)};
}

DeviceResult<DeviceImage> VmaBacked::CreateImage(const ImageDescription& description,
                                                 const MemoryRequest& request) noexcept {
  if (!VulkanResources::IsSane(request)) return Refuse(Reason::kArgument);
  const auto image = resources_.Create(description);
  if (!image) return std::unexpected(image.error());
  VmaAllocationInfo info;
  const auto allocation = TakeFor(*image, 0, request, info);
  if (!allocation) {
    resources_.Destroy(*image);
    return std::unexpected(allocation.error());
  }
  resources_.Name(*image, request.name);
  return DeviceImage{ToHandle(*image), ToHandle(*allocation), ToInfo(info)};
}

DeviceResult<DeviceMemory> VmaBacked::Allocate(const MemoryNeeds& needs,
                                               const MemoryRequest& request) noexcept {
  if (needs.bytes <= 0 || needs.alignment <= 0 || !VulkanResources::IsSane(request)) {
    return Refuse(Reason::kArgument, needs.bytes);
  }
  const VkMemoryRequirements requirements{.size = static_cast<VkDeviceSize>(needs.bytes),
                                          .alignment = static_cast<VkDeviceSize>(needs.alignment),
                                          .memoryTypeBits = needs.types};
  const VmaAllocationCreateInfo memory_info = ToVma(request);
  VmaAllocation allocation = nullptr;
  VmaAllocationInfo info;
  const Entered entered(gated_, mutex_);
  const VkResult result = vmaAllocateMemory(vma_, &requirements, &memory_info, &allocation, &info);
  if (result != VK_SUCCESS) {
    return std::unexpected(entered.ToError(result, needs.bytes, request));
  }
  if (request.name != nullptr) {
    vmaSetAllocationName(vma_, allocation, request.name);
    vmaGetAllocationInfo(vma_, allocation, &info);
  }
  return DeviceMemory{ToHandle(allocation), ToInfo(info)};
}

bool VmaBacked::Fits(MemoryHandle memory, std::int64_t offset,
                     const MemoryNeeds& needs) const noexcept {
  const MemoryInfo info = Info(memory);
  return offset >= 0 && (info.offset + offset) % needs.alignment == 0 &&
         offset <= info.bytes - needs.bytes && (needs.types >> info.type & 1) != 0;
}

DeviceResult<DeviceBuffer> VmaBacked::PlaceBuffer(MemoryHandle memory, std::int64_t offset,
                                                  const BufferDescription& description) noexcept {
  if (memory == MemoryHandle::kNone) return Refuse(Reason::kArgument, description.bytes);
  const auto buffer = resources_.Create(description);
  if (!buffer) return std::unexpected(buffer.error());
  VkResult result = VK_ERROR_UNKNOWN;
  const bool fits = Fits(memory, offset, resources_.NeedsOf(*buffer));
  if (fits) {
    const std::lock_guard lock(mutex_);
    result = Bind(ToVma(memory), *buffer, offset);
  }
  if (result != VK_SUCCESS) {
    resources_.Destroy(*buffer);
    if (!fits) return Refuse(Reason::kArgument, description.bytes);
    return std::unexpected(ToDeviceError(result, description.bytes));
  }
  return DeviceBuffer{
      .buffer = ToHandle(*buffer), .bytes = description.bytes, .info = Info(memory)};
}

DeviceResult<DeviceImage> VmaBacked::PlaceImage(MemoryHandle memory, std::int64_t offset,
                                                const ImageDescription& description) noexcept {
  if (memory == MemoryHandle::kNone) return Refuse(Reason::kArgument);
  const auto image = resources_.Create(description);
  if (!image) return std::unexpected(image.error());
  VkResult result = VK_ERROR_UNKNOWN;
  const bool fits = Fits(memory, offset, resources_.NeedsOf(*image));
  if (fits) {
    const std::lock_guard lock(mutex_);
    result = Bind(ToVma(memory), *image, offset);
  }
  if (result != VK_SUCCESS) {
    resources_.Destroy(*image);
    if (!fits) return Refuse(Reason::kArgument);
    return std::unexpected(ToDeviceError(result, 0));
  }
  return DeviceImage{.image = ToHandle(*image), .info = Info(memory)};
}

void VmaBacked::Destroy(const DeviceBuffer& buffer) noexcept {
  resources_.Destroy(ToVulkan(buffer.buffer));
  Free(buffer.memory);
}

void VmaBacked::Destroy(const DeviceImage& image) noexcept {
  resources_.Destroy(ToVulkan(image.image));
  Free(image.memory);
}

void VmaBacked::Free(MemoryHandle memory) noexcept {
  if (memory == MemoryHandle::kNone) return;
  const Entered entered(gated_, mutex_);
  vmaFreeMemory(vma_, ToVma(memory));
}

DeviceResult<void*> VmaBacked::Map(MemoryHandle memory) noexcept {
  const MemoryInfo info = Info(memory);
  if (!layout().types[info.type].host_visible) return Refuse(Reason::kArgument, info.bytes);
  void* address = nullptr;
  const std::lock_guard lock(mutex_);
  const VkResult result = vmaMapMemory(vma_, ToVma(memory), &address);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, info.bytes));
  return address;
}

DeviceResult<void> VmaBacked::Flush(MemoryHandle memory, std::int64_t offset,
                                    std::int64_t bytes) noexcept {
  if (!IsWithin(Info(memory), offset, bytes)) return Refuse(Reason::kArgument, bytes);
  const VkResult result = vmaFlushAllocation(vma_, ToVma(memory), static_cast<VkDeviceSize>(offset),
                                             static_cast<VkDeviceSize>(bytes));
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, bytes));
  return {};
}

DeviceResult<void> VmaBacked::Invalidate(MemoryHandle memory, std::int64_t offset,
                                         std::int64_t bytes) noexcept {
  if (!IsWithin(Info(memory), offset, bytes)) return Refuse(Reason::kArgument, bytes);
  const VkResult result = vmaInvalidateAllocation(
      vma_, ToVma(memory), static_cast<VkDeviceSize>(offset), static_cast<VkDeviceSize>(bytes));
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, bytes));
  return {};
}

MemoryInfo VmaBacked::Info(MemoryHandle memory) const noexcept {
  VmaAllocationInfo info;
  vmaGetAllocationInfo(vma_, ToVma(memory), &info);
  return ToInfo(info);
}

DeviceResult<PoolHandle> VmaBacked::CreatePool(const PoolDescription& description) noexcept {
  if (description.block_bytes <= 0) return Refuse(Reason::kArgument, description.block_bytes);
  const VmaAllocationCreateInfo memory_info = ToVma(MemoryRequest{.use = description.use});
  VmaPoolCreateInfo info{};
  VkResult result =
      vmaFindMemoryTypeIndex(vma_, description.types, &memory_info, &info.memoryTypeIndex);
  if (result != VK_SUCCESS) return Refuse(Reason::kUnsupported, description.block_bytes);
  info.blockSize = static_cast<VkDeviceSize>(description.block_bytes);
  info.maxBlockCount = description.max_blocks;
  info.priority = 0.5F;
  VmaPool pool = nullptr;
  const Entered entered(gated_, mutex_);
  result = vmaCreatePool(vma_, &info, &pool);
  if (result != VK_SUCCESS) {
    return std::unexpected(ToDeviceError(result, description.block_bytes));
  }
  return std::bit_cast<PoolHandle>(pool);
}

void VmaBacked::DestroyPool(PoolHandle pool) noexcept {
  const Entered entered(gated_, mutex_);
  vmaDestroyPool(vma_, ToVma(pool));
}

// Lets the mover see the moves that have a tag, in one piece, and tells VMA what it did of them.
// Declines all where the host has no memory for the list.
void MovePass(VmaAllocator vma, VmaDefragmentationPassMoveInfo& pass, MemoryMover& mover,
              DefragmentResult& done) noexcept {
  const std::unique_ptr<MemoryMove[]> moves(new (std::nothrow) MemoryMove[pass.moveCount]);
  std::uint32_t count = 0;
  for (std::uint32_t index = 0; index < pass.moveCount; ++index) {
    VmaDefragmentationMove& move = pass.pMoves[index];
    move.operation = VMA_DEFRAGMENTATION_MOVE_OPERATION_IGNORE;
    VmaAllocationInfo info;
    vmaGetAllocationInfo(vma, move.srcAllocation, &info);
    if (moves == nullptr || info.pUserData == nullptr) continue;
    moves[count++] = {.memory = ToHandle(move.srcAllocation),
                      .target = ToHandle(move.dstTmpAllocation),
                      .tag = reinterpret_cast<std::uintptr_t>(info.pUserData),
                      .bytes = static_cast<std::int64_t>(info.size)};
  }
  if (count != 0) mover.Move({moves.get(), count});
  std::uint32_t next = 0;
  for (std::uint32_t index = 0; index < pass.moveCount && next < count; ++index) {
    if (ToHandle(pass.pMoves[index].srcAllocation) != moves[next].memory) continue;
    const MemoryMove& moved = moves[next++];
    if (!moved.done) continue;
    pass.pMoves[index].operation = VMA_DEFRAGMENTATION_MOVE_OPERATION_COPY;
    ++done.moves;
    done.moved_bytes += moved.bytes;
  }
}

// One pass of VMA's. Moves of memory without a tag are declined here: nobody could say whose they
// are.
DeviceResult<DefragmentResult> VmaBacked::Defragment(const DefragmentLimits& limits,
                                                     MemoryMover& mover) noexcept {
  VmaDefragmentationInfo info{};
  info.flags = VMA_DEFRAGMENTATION_FLAG_ALGORITHM_BALANCED_BIT;
  info.maxBytesPerPass = static_cast<VkDeviceSize>(limits.max_bytes);
  info.maxAllocationsPerPass = limits.max_moves;
  VmaDefragmentationContext context = nullptr;
  VmaDefragmentationPassMoveInfo pass{};
  DefragmentResult done;
  VkResult result = VK_SUCCESS;
  {
    const Entered entered(gated_, mutex_);
    result = vmaBeginDefragmentation(vma_, &info, &context);
    if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, 0));
    result = vmaBeginDefragmentationPass(vma_, context, &pass);
  }
  const bool moves = result == VK_INCOMPLETE;
  if (moves) MovePass(vma_, pass, mover, done);
  const Entered entered(gated_, mutex_);
  if (moves) result = vmaEndDefragmentationPass(vma_, context, &pass);
  vmaEndDefragmentation(vma_, context, nullptr);
  if (result < 0) return std::unexpected(ToDeviceError(result, 0));
  done.freed_blocks = entered.freed_blocks();
  done.freed_bytes = entered.freed_bytes();
  return done;
}

MemoryStatistics VmaBacked::Statistics() const noexcept {
  VmaBudget budgets[kMaxMemoryHeaps];
  vmaGetHeapBudgets(vma_, budgets);
  MemoryStatistics statistics;
  for (std::uint32_t heap = 0; heap < layout().heap_count; ++heap) {
    const VmaStatistics& of_heap = budgets[heap].statistics;
    statistics[heap] = {.blocks = of_heap.blockCount,
                        .block_bytes = static_cast<std::int64_t>(of_heap.blockBytes),
                        .allocations = of_heap.allocationCount,
                        .allocation_bytes = static_cast<std::int64_t>(of_heap.allocationBytes)};
  }
  return statistics;
}

}  // namespace

Result<std::unique_ptr<IMemoryAllocator>> VMAAllocator::Open(const VulkanDevice& device,
                                                             std::int64_t block_bytes) {
  if (block_bytes < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "block_bytes: 0 or more: " + std::to_string(block_bytes));
  }
  const auto functions = VulkanFunctions::Load(device);
  if (!functions) return std::unexpected(functions.error());
  auto allocator = std::make_unique<VmaBacked>(device, *functions);
  if (auto opened = allocator->Open(block_bytes); !opened) {
    return std::unexpected(std::move(opened.error()));
  }
  return allocator;
}

}  // namespace mete
