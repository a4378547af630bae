// The device half beside VMA alone, on the CPU's driver, without layers. Rows are named
// workload/who; bars.toml holds the bars. What the driver itself takes is in all of them: a real
// one takes more.
//
//   device_buffer_*   a buffer of 64 KiB created and destroyed, in a block that is there
//   device_queries    how often a thread that allocates asks for the driver's budget; counted by
//                     mete's layer
//   upload_1g_*       1 GiB uploaded through a quota of 64 MiB, and through one that never fills;
//                     what staging there is was used before
//   device_frames     what 10,000 frames of the example ask of malloc, after 120 more, and what the
//                     driver asks of its callbacks
#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../examples/headless_vulkan.h"

#include "malloc_counter.h"
#include "mete/budget_bridge.h"
#include "mete/device_budget_manager.h"
#include "mete/device_buffers.h"
#include "mete/host_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "terrain_shader.h"
#include "vulkan/test_stand.h"
#include "vulkan/vma.h"

namespace mete {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

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
  state.SetLabel(mete.device().snapshot().BenchRow());
}

// The manager polls the driver meanwhile, on its own thread.
void BudgetQueries(benchmark::State& state) {
  TestStand stand(TestStand::kTwoHeaps);
  DeviceOptions options;
  options.driver_poll = std::chrono::milliseconds(100);
  auto device = *DeviceBudgetManager::Open(*VMAAllocator::Open(stand.device()), options);
  const std::int64_t before = stand.layer().BudgetQueries();
  for (auto _ : state) {
    for (int i = 0; i < 1000; ++i) {
      benchmark::DoNotOptimize(device->CreateBuffer({.bytes = kBytes, .usage = kBufferStorage},
                                                    {.dedicated = i % 8 == 0}));
    }
  }
  state.counters["queries"] = static_cast<double>(stand.layer().BudgetQueries() - before);
}

// Everything that an upload goes through; kept from one measurement to the next.
class Uploads {
 public:
  explicit Uploads(std::int64_t quota) {
    device_ = *DeviceBudgetManager::Open(*VMAAllocator::Open(Stand().device()), {});
    queue_ = *VulkanTransferQueue::Open(Stand().device(), Stand().queue(), Stand().family());
    bridge_ = *BudgetBridge::Open({.quota = quota, .block_bytes = 4 * kMiB}, host_, *device_);
    uploader_ = std::make_unique<Uploader>(*bridge_, *queue_);
    target_ = *device_->CreateBuffer({.bytes = kPiece, .usage = kBufferCopyTarget});
    Run();
  }
  void Run() {
    UploadTicket last;
    for (std::int64_t done = 0; done < 1024 * kMiB; done += kPiece) {
      last = *uploader_->Upload(target_->buffer, 0, std::as_bytes(std::span(data_)));
    }
    if (!uploader_->Wait(last)) std::abort();
  }
  std::int64_t peak() const { return bridge_->usage().peak; }
  std::string Row() const { return device_->snapshot().BenchRow(); }

 private:
  static constexpr std::int64_t kPiece = 64 * kMiB;
  std::vector<std::byte> data_ = std::vector<std::byte>(kPiece, std::byte{0x5A});
  SharedBudget host_{BudgetKind::kLevel};
  std::unique_ptr<DeviceBudgetManager> device_;
  std::unique_ptr<ITransferQueue> queue_;
  std::unique_ptr<BudgetBridge> bridge_;
  std::unique_ptr<Uploader> uploader_;
  TrackedBuffer target_;
};

template <std::int64_t kQuota>
void Upload(benchmark::State& state) {
  Stand();  // ends after what stands on it
  static Uploads uploads(kQuota);
  for (auto _ : state) uploads.Run();
  state.counters["peak_over"] = static_cast<double>(uploads.peak() - kQuota);
  state.SetLabel(uploads.Row());
  state.counters["peak_mib"] = static_cast<double>(uploads.peak() / kMiB);
}

void FramesOfTheExample(benchmark::State& state) {
  Stand();  // has said which driver to take
  HostOptions host_options;
  host_options.limit = 64 * kMiB;
  const auto host = *HostBudgetManager::Open(host_options);
  DriverHostMemory driver(**host->Owner("driver"));
  const example::HeadlessDevice vulkan(driver.callbacks());
  auto device = *DeviceBudgetManager::Open(*VMAAllocator::Open(vulkan.ForMete()), {});
  constexpr std::uint32_t kSide = 16;
  const auto make = [&](std::uint32_t usage, const MemoryRequest& request) {
    return *device->CreateBuffer({.bytes = 4096, .usage = usage}, request);
  };
  const TrackedBuffer heights = make(kBufferStorage, {});
  const TrackedBuffer palette = make(kBufferStorage, {});
  const TrackedBuffer picture = make(kBufferStorage, {});
  const TrackedBuffer constants = make(kBufferUniform, {.use = MemoryUse::kUpload, .mapped = true});
  example::ComputePass pass(vulkan, kTerrainShader,
                            {ToVulkan(heights->buffer), ToVulkan(palette->buffer),
                             ToVulkan(picture->buffer), ToVulkan(constants->buffer)},
                            kSide);
  const auto run = [&](int frames) {
    for (int frame = 0; frame < frames; ++frame) {
      benchmark::DoNotOptimize(host->RequestStackResource<float>(1000));
      *static_cast<example::ComputePass::Constants*>(constants->info.mapped) = {
          kSide, static_cast<float>(frame)};
      pass.Run();
      host->BeginFrame();
      device->BeginFrame();
    }
  };
  run(120);
  for (auto _ : state) {
    const std::int64_t mallocs = t_mallocs;
    const std::int64_t asked = driver.allocations();
    run(10000);
    state.counters["mallocs"] = static_cast<double>(t_mallocs - mallocs);
    state.counters["of_the_driver"] = static_cast<double>(driver.allocations() - asked);
  }
  const DeviceSnapshot snapshot = device->snapshot();
  state.counters["device_peak"] = static_cast<double>(snapshot.device.peak);
  state.SetLabel(snapshot.BenchRow());
}

BENCHMARK(BufferOfMete)->Name("device_buffer/mete");
BENCHMARK(BufferOfVma)->Name("device_buffer/vma");
BENCHMARK(BufferOfVmaWithBudget)->Name("device_buffer/vma_budget");
BENCHMARK(BufferOfAllocator)->Name("device_buffer/allocator");
BENCHMARK(BudgetQueries)->Name("device_queries/mete")->Iterations(20);
BENCHMARK(Upload<64 * kMiB>)->Name("upload_1g/quota")->Iterations(1)->UseRealTime();
BENCHMARK(Upload<1024 * kMiB>)->Name("upload_1g/unlimited")->Iterations(1)->UseRealTime();
BENCHMARK(FramesOfTheExample)->Name("device_frames/mete")->Iterations(1);

}  // namespace
}  // namespace mete
