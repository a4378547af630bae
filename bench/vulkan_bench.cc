// The device half beside VMA alone, on the CPU's driver, without layers. Rows are named
// workload/who; bars.toml holds the bars. What the driver itself takes is in all of them: a real
// one takes more.
//
//   device_buffer_*   a buffer of 64 KiB created and destroyed, in a block that is there
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>

#include "mete/device_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"
#include "vulkan/vma.h"

namespace mete {
namespace {

constexpr std::int64_t kBytes = 64 << 10;

TestStand& Stand() {
  static TestStand stand(TestStand::kOneHeap, TestStand::Layers::kNone);
  return stand;
}

// VMA as programs use it: with its budget extension or without.
class RawVma {
 public:
  explicit RawVma(bool budget) {
    const VulkanDevice device = Stand().device();
    VmaVulkanFunctions functions{};
    functions.vkGetInstanceProcAddr = vkGetInstanceProcAddr;
    functions.vkGetDeviceProcAddr = vkGetDeviceProcAddr;
    VmaAllocatorCreateInfo info{};
    if (budget) info.flags |= VMA_ALLOCATOR_CREATE_EXT_MEMORY_BUDGET_BIT;
    info.physicalDevice = device.physical;
    info.device = device.device;
    info.instance = device.instance;
    info.pVulkanFunctions = &functions;
    info.vulkanApiVersion = VK_API_VERSION_1_3;
    if (vmaCreateAllocator(&info, &vma_) != VK_SUCCESS) std::abort();
  }
  ~RawVma() { vmaDestroyAllocator(vma_); }

  struct Buffer {
    VkBuffer buffer = VK_NULL_HANDLE;
    VmaAllocation allocation = nullptr;
  };
  Buffer Create() {
    VkBufferCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
    info.size = kBytes;
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
    VmaAllocationCreateInfo memory{};
    memory.requiredFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    Buffer made;
    if (vmaCreateBuffer(vma_, &info, &memory, &made.buffer, &made.allocation, nullptr) !=
        VK_SUCCESS) {
      std::abort();
    }
    return made;
  }
  void Destroy(const Buffer& buffer) { vmaDestroyBuffer(vma_, buffer.buffer, buffer.allocation); }

 private:
  VmaAllocator vma_ = nullptr;
};

// mete's allocator by itself.
class Allocator {
 public:
  Allocator() : allocator_(*VMAAllocator::Open(Stand().device())) {}
  DeviceBuffer Create() {
    return *allocator_->CreateBuffer({.bytes = kBytes, .usage = kBufferStorage}, {});
  }
  void Destroy(const DeviceBuffer& buffer) { allocator_->Destroy(buffer); }

 private:
  std::unique_ptr<IMemoryAllocator> allocator_;
};

// All of it: kind, owner, heap and device, with the driver asked by a thread of its own.
class Mete {
 public:
  Mete() : device_(Open()), owner_(*device_->Owner("meshes")) {}
  TrackedBuffer Create() {
    return *device_->CreateBuffer({.bytes = kBytes, .usage = kBufferStorage}, {},
                                  {.owner = owner_});
  }
  void Destroy(const TrackedBuffer&) {}  // it ends by itself
  DeviceBudgetManager& device() { return *device_; }

 private:
  static std::unique_ptr<DeviceBudgetManager> Open() {
    DeviceOptions options;
    options.limit = std::int64_t{1} << 30;
    return *DeviceBudgetManager::Open(*VMAAllocator::Open(Stand().device()), options);
  }
  std::unique_ptr<DeviceBudgetManager> device_;
  DeviceOwner* owner_;
};

template <class Who>
void CreateAndDestroy(benchmark::State& state, Who& who) {
  const auto first = who.Create();  // so that there is a block
  for (auto _ : state) who.Destroy(who.Create());
  who.Destroy(first);
}

void BufferOfVma(benchmark::State& state) {
  RawVma vma(false);
  CreateAndDestroy(state, vma);
}
void BufferOfVmaWithBudget(benchmark::State& state) {
  RawVma vma(true);
  CreateAndDestroy(state, vma);
}
void BufferOfAllocator(benchmark::State& state) {
  Allocator allocator;
  CreateAndDestroy(state, allocator);
}
void BufferOfMete(benchmark::State& state) {
  Mete mete;
  CreateAndDestroy(state, mete);
}

BENCHMARK(BufferOfMete)->Name("device_buffer/mete");
BENCHMARK(BufferOfVma)->Name("device_buffer/vma");
BENCHMARK(BufferOfVmaWithBudget)->Name("device_buffer/vma_budget");
BENCHMARK(BufferOfAllocator)->Name("device_buffer/allocator");

}  // namespace
}  // namespace mete
