// DirectAllocator: one vkAllocateMemory for every resource.
#include <vulkan/vulkan.h>

#include <array>
#include <atomic>
#include <bit>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "mete/vulkan/allocators.h"
#include "vulkan/gated.h"
#include "vulkan/resources.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;

std::unexpected<DeviceError> Refuse(Reason reason, std::int64_t bytes = 0) noexcept {
  return std::unexpected(DeviceError{.reason = reason, .bytes = bytes});
}

// What a MemoryHandle of this allocator points to.
struct Block {
  VkDeviceMemory memory = VK_NULL_HANDLE;
  MemoryInfo info;
  std::uint64_t tag = 0;
  std::unique_ptr<char[]> name;
  std::mutex mutex;  // guards the two below
  int maps = 0;      // how often it is mapped now, `mapped` of the request included
  void* address = nullptr;
};

Block* ToBlock(MemoryHandle memory) noexcept { return std::bit_cast<Block*>(memory); }
MemoryHandle ToHandle(Block* block) noexcept { return std::bit_cast<MemoryHandle>(block); }

struct AtomicStatistics {
  std::atomic<std::int64_t> blocks{0};
  std::atomic<std::int64_t> bytes{0};
};

// The resource that memory is made for: drivers may ask to be told (VkMemoryDedicatedAllocateInfo).
struct Dedication {
  VkBuffer buffer = VK_NULL_HANDLE;
  VkImage image = VK_NULL_HANDLE;
};

class Direct final : public IMemoryAllocator {
 public:
  Direct(const VulkanDevice& device, const VulkanFunctions& functions)
      : resources_(device, functions), gated_(resources_) {}

  const char* name() const noexcept override { return "direct"; }
  const DeviceMemoryLayout& layout() const noexcept override { return resources_.layout(); }
  Result<void> Attach(MemoryGate& gate) noexcept override { return gated_.Attach(gate); }

  DeviceResult<DeviceBuffer> CreateBuffer(const BufferDescription& description,
                                          const MemoryRequest& request) noexcept override {
    return Create<DeviceBuffer>(description, request);
  }
  DeviceResult<DeviceImage> CreateImage(const ImageDescription& description,
                                        const MemoryRequest& request) noexcept override {
    return Create<DeviceImage>(description, request);
  }
  DeviceResult<DeviceMemory> Allocate(const MemoryNeeds& needs,
                                      const MemoryRequest& request) noexcept override;
  DeviceResult<MemoryNeeds> Needs(const BufferDescription& description) noexcept override {
    return resources_.Needs(description);
  }
  DeviceResult<MemoryNeeds> Needs(const ImageDescription& description) noexcept override {
    return resources_.Needs(description);
  }
  DeviceResult<DeviceBuffer> PlaceBuffer(MemoryHandle memory, std::int64_t offset,
                                         const BufferDescription& description) noexcept override {
    return Place<DeviceBuffer>(memory, offset, description);
  }
  DeviceResult<DeviceImage> PlaceImage(MemoryHandle memory, std::int64_t offset,
                                       const ImageDescription& description) noexcept override {
    return Place<DeviceImage>(memory, offset, description);
  }
  void Destroy(const DeviceBuffer& buffer) noexcept override {
    resources_.Destroy(ToVulkan(buffer.buffer));
    Free(buffer.memory);
  }
  void Destroy(const DeviceImage& image) noexcept override {
    resources_.Destroy(ToVulkan(image.image));
    Free(image.memory);
  }
  void Free(MemoryHandle memory) noexcept override;
  DeviceResult<void*> Map(MemoryHandle memory) noexcept override;
  void Unmap(MemoryHandle memory) noexcept override;
  DeviceResult<void> Flush(MemoryHandle memory, std::int64_t offset,
                           std::int64_t bytes) noexcept override {
    return Synchronise(memory, offset, bytes, resources_.functions().FlushMappedMemoryRanges);
  }
  DeviceResult<void> Invalidate(MemoryHandle memory, std::int64_t offset,
                                std::int64_t bytes) noexcept override {
    return Synchronise(memory, offset, bytes, resources_.functions().InvalidateMappedMemoryRanges);
  }
  MemoryInfo Info(MemoryHandle memory) const noexcept override { return ToBlock(memory)->info; }

  // There is nothing to share, and nothing to close up.
  DeviceResult<PoolHandle> CreatePool(const PoolDescription&) noexcept override {
    return Refuse(Reason::kUnsupported);
  }
  void DestroyPool(PoolHandle) noexcept override {}
  DeviceResult<DefragmentResult> Defragment(const DefragmentLimits&,
                                            MemoryMover&) noexcept override {
    return DefragmentResult{};
  }

  MemoryStatistics Statistics() const noexcept override;
  DeviceResult<DriverBudget> QueryDriverBudget() noexcept override {
    return resources_.QueryDriverBudget();
  }

 private:
  template <class Made, class Description>
  DeviceResult<Made> Create(const Description& description, const MemoryRequest& request) noexcept;
  template <class Made, class Description>
  DeviceResult<Made> Place(MemoryHandle memory, std::int64_t offset,
                           const Description& description) noexcept;
  VkResult Bind(VkBuffer buffer, VkDeviceMemory memory, std::int64_t offset) noexcept {
    return resources_.functions().BindBufferMemory(device(), buffer, memory,
                                                   static_cast<VkDeviceSize>(offset));
  }
  VkResult Bind(VkImage image, VkDeviceMemory memory, std::int64_t offset) noexcept {
    return resources_.functions().BindImageMemory(device(), image, memory,
                                                  static_cast<VkDeviceSize>(offset));
  }
  DeviceResult<Block*> Take(const MemoryNeeds& needs, const MemoryRequest& request,
                            Dedication dedication) noexcept;
  DeviceResult<VkDeviceMemory> TakeOfType(std::uint32_t type, const MemoryNeeds& needs,
                                          const MemoryRequest& request,
                                          Dedication dedication) noexcept;
  DeviceResult<void> Synchronise(MemoryHandle memory, std::int64_t offset, std::int64_t bytes,
                                 PFN_vkFlushMappedMemoryRanges function) noexcept;
  VkDevice device() const noexcept { return resources_.device().device; }

  VulkanResources resources_;
  GatedMemory gated_;
  std::array<AtomicStatistics, kMaxMemoryHeaps> statistics_;
};

DeviceBuffer Made(VkBuffer buffer, const BufferDescription& description, MemoryHandle memory,
                  const MemoryInfo& info) noexcept {
  return {std::bit_cast<BufferHandle>(buffer), memory, description.bytes, info};
}
DeviceImage Made(VkImage image, const ImageDescription&, MemoryHandle memory,
                 const MemoryInfo& info) noexcept {
  return {std::bit_cast<ImageHandle>(image), memory, info};
}
Dedication For(VkBuffer buffer) noexcept { return {.buffer = buffer}; }
Dedication For(VkImage image) noexcept { return {.image = image}; }

template <class Result, class Description>
DeviceResult<Result> Direct::Create(const Description& description,
                                    const MemoryRequest& request) noexcept {
  if (!VulkanResources::IsSane(request) || request.pool != PoolHandle::kNone) {
    return Refuse(Reason::kArgument);
  }
  const auto resource = resources_.Create(description);
  if (!resource) return std::unexpected(resource.error());
  const auto dedication = request.can_alias ? Dedication{} : For(*resource);
  const auto block = Take(resources_.NeedsOf(*resource), request, dedication);
  if (!block) {
    resources_.Destroy(*resource);
    return std::unexpected(block.error());
  }
  if (const VkResult result = Bind(*resource, (*block)->memory, 0); result != VK_SUCCESS) {
    resources_.Destroy(*resource);
    Free(ToHandle(*block));
    return std::unexpected(ToDeviceError(result, 0));
  }
  resources_.Name(*resource, request.name);
  return Made(*resource, description, ToHandle(*block), (*block)->info);
}

template <class Result, class Description>
DeviceResult<Result> Direct::Place(MemoryHandle memory, std::int64_t offset,
                                   const Description& description) noexcept {
  if (memory == MemoryHandle::kNone) return Refuse(Reason::kArgument);
  const auto resource = resources_.Create(description);
  if (!resource) return std::unexpected(resource.error());
  const Block& block = *ToBlock(memory);
  const MemoryNeeds needs = resources_.NeedsOf(*resource);
  if (offset < 0 || offset % needs.alignment != 0 || offset > block.info.bytes - needs.bytes ||
      (needs.types >> block.info.type & 1) == 0) {
    resources_.Destroy(*resource);
    return Refuse(Reason::kArgument, needs.bytes);
  }
  if (const VkResult result = Bind(*resource, block.memory, offset); result != VK_SUCCESS) {
    resources_.Destroy(*resource);
    return std::unexpected(ToDeviceError(result, needs.bytes));
  }
  return Made(*resource, description, MemoryHandle::kNone, block.info);
}

DeviceResult<DeviceMemory> Direct::Allocate(const MemoryNeeds& needs,
                                            const MemoryRequest& request) noexcept {
  if (needs.bytes <= 0 || needs.alignment <= 0 || !VulkanResources::IsSane(request) ||
      request.pool != PoolHandle::kNone) {
    return Refuse(Reason::kArgument, needs.bytes);
  }
  const auto block = Take(needs, request, {});
  if (!block) return std::unexpected(block.error());
  return DeviceMemory{ToHandle(*block), (*block)->info};
}

// Tries the types that would do, best first: those that lack the fewest of the preferred flags, and
// of these in the driver's order, which Vulkan 1.3 (section 11.2) makes the order of preference.
DeviceResult<Block*> Direct::Take(const MemoryNeeds& needs, const MemoryRequest& request,
                                  Dedication dedication) noexcept {
  if (request.existing_only) return Refuse(Reason::kNoRoom, needs.bytes);
  std::unique_ptr<Block> block(new (std::nothrow) Block);
  if (block == nullptr) return Refuse(Reason::kHostMemory, needs.bytes);
  if (request.name != nullptr) {
    const std::string_view name(request.name);
    block->name.reset(new (std::nothrow) char[name.size() + 1]());
    if (block->name != nullptr) name.copy(block->name.get(), name.size());
  }
  const TypeFlags flags = FlagsOf(request.use);
  DeviceError error{.reason = Reason::kDeviceMemory, .bytes = needs.bytes};
  for (int lacking = 0; lacking <= std::popcount(flags.preferred); ++lacking) {
    for (std::uint32_t type = 0; type < layout().type_count; ++type) {
      const VkMemoryPropertyFlags has = resources_.properties().memoryTypes[type].propertyFlags;
      if ((needs.types >> type & 1) == 0 || (has & flags.required) != flags.required ||
          std::popcount(flags.preferred & ~has) != lacking) {
        continue;
      }
      const auto memory = TakeOfType(type, needs, request, dedication);
      if (!memory) {
        // A budget that refused is the more useful answer than the heap tried after it.
        if (error.reason != Reason::kBudget) error = memory.error();
        continue;
      }
      block->memory = *memory;
      block->tag = request.tag;
      block->info = {.bytes = needs.bytes,
                     .type = type,
                     .heap = layout().types[type].heap,
                     .name = block->name.get()};
      AtomicStatistics& statistics = statistics_[block->info.heap];
      statistics.blocks.fetch_add(1, std::memory_order_relaxed);
      statistics.bytes.fetch_add(needs.bytes, std::memory_order_relaxed);
      if (request.mapped) {
        const auto address = Map(ToHandle(block.get()));
        if (!address) {
          Free(ToHandle(block.release()));
          return std::unexpected(address.error());
        }
        block->info.mapped = *address;
      }
      return block.release();
    }
  }
  return std::unexpected(error);
}

DeviceResult<VkDeviceMemory> Direct::TakeOfType(std::uint32_t type, const MemoryNeeds& needs,
                                                const MemoryRequest& request,
                                                Dedication dedication) noexcept {
  VkMemoryDedicatedAllocateInfo dedicated{.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO,
                                          .image = dedication.image,
                                          .buffer = dedication.buffer};
  VkMemoryPriorityAllocateInfoEXT priority{
      .sType = VK_STRUCTURE_TYPE_MEMORY_PRIORITY_ALLOCATE_INFO_EXT, .priority = request.priority};
  VkMemoryAllocateInfo info{.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                            .allocationSize = static_cast<VkDeviceSize>(needs.bytes),
                            .memoryTypeIndex = type};
  if (dedication.image != VK_NULL_HANDLE || dedication.buffer != VK_NULL_HANDLE) {
    info.pNext = &dedicated;
  }
  if (resources_.device().memory_priority) {
    priority.pNext = info.pNext;
    info.pNext = &priority;
  }
  VkDeviceMemory memory = VK_NULL_HANDLE;
  bool refused = false;
  const VkResult result = gated_.Allocate(info, &memory, refused);
  if (refused) return Refuse(Reason::kBudget, needs.bytes);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, needs.bytes));
  return memory;
}

// Freeing unmaps.
void Direct::Free(MemoryHandle memory) noexcept {
  if (memory == MemoryHandle::kNone) return;
  const std::unique_ptr<Block> block(ToBlock(memory));
  gated_.Free(block->memory, block->info.type, block->info.bytes);
  AtomicStatistics& statistics = statistics_[block->info.heap];
  statistics.blocks.fetch_sub(1, std::memory_order_relaxed);
  statistics.bytes.fetch_sub(block->info.bytes, std::memory_order_relaxed);
}

DeviceResult<void*> Direct::Map(MemoryHandle memory) noexcept {
  Block& block = *ToBlock(memory);
  if (!layout().types[block.info.type].host_visible) {
    return Refuse(Reason::kArgument, block.info.bytes);
  }
  const std::lock_guard lock(block.mutex);
  if (block.maps == 0) {
    const VkResult result = resources_.functions().MapMemory(device(), block.memory, 0,
                                                             VK_WHOLE_SIZE, 0, &block.address);
    if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, block.info.bytes));
  }
  ++block.maps;
  return block.address;
}

void Direct::Unmap(MemoryHandle memory) noexcept {
  Block& block = *ToBlock(memory);
  const std::lock_guard lock(block.mutex);
  if (--block.maps == 0) resources_.functions().UnmapMemory(device(), block.memory);
}

DeviceResult<void> Direct::Synchronise(MemoryHandle memory, std::int64_t offset, std::int64_t bytes,
                                       PFN_vkFlushMappedMemoryRanges function) noexcept {
  const Block& block = *ToBlock(memory);
  if (!IsWithin(block.info, offset, bytes)) return Refuse(Reason::kArgument, bytes);
  if (layout().types[block.info.type].host_coherent || bytes == 0) return {};
  const std::int64_t atom = resources_.atom();
  const std::int64_t begin = offset / atom * atom;
  const std::int64_t left = block.info.bytes - begin;
  const std::int64_t wanted = (offset + bytes - begin + atom - 1) / atom * atom;
  const VkMappedMemoryRange range{
      .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
      .memory = block.memory,
      .offset = static_cast<VkDeviceSize>(begin),
      .size = wanted < left ? static_cast<VkDeviceSize>(wanted) : VK_WHOLE_SIZE};
  const VkResult result = function(device(), 1, &range);
  if (result != VK_SUCCESS) return std::unexpected(ToDeviceError(result, bytes));
  return {};
}

MemoryStatistics Direct::Statistics() const noexcept {
  MemoryStatistics statistics;
  for (std::size_t heap = 0; heap < statistics.size(); ++heap) {
    const std::int64_t blocks = statistics_[heap].blocks.load(std::memory_order_relaxed);
    const std::int64_t bytes = statistics_[heap].bytes.load(std::memory_order_relaxed);
    statistics[heap] = {blocks, bytes, blocks, bytes};
  }
  return statistics;
}

}  // namespace

Result<std::unique_ptr<IMemoryAllocator>> DirectAllocator::Open(const VulkanDevice& device) {
  const auto functions = VulkanFunctions::Load(device);
  if (!functions) return std::unexpected(functions.error());
  return std::make_unique<Direct>(device, *functions);
}

}  // namespace mete
