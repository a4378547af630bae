// DeviceBudgetManager on Vulkan: what the ledger says, the allocator's own statistics and what the
// layer saw pass to the driver are the same number, and no limit is passed by a byte.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <iterator>
#include <latch>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mete/device_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"
#include "vulkan/vma.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMiB = 1024 * 1024;
constexpr std::uint32_t kUsage = kBufferStorage | kBufferCopySource | kBufferCopyTarget;

struct DeviceCase {
  const char* name;
  const char* rules;
  bool vma;
};
void PrintTo(const DeviceCase& tested, std::ostream* out) { *out << tested.name; }

class DeviceBudgetTest : public testing::TestWithParam<DeviceCase> {
 protected:
  DeviceBudgetTest() : stand_(GetParam().rules) {}

  void Open(const DeviceOptions& options) {
    DeviceOptions own = options;
    own.driver_poll = std::chrono::milliseconds(0);
    own.leaked = [](const std::vector<MemoryLeak>& leaks) {
      for (const MemoryLeak& leak : leaks) ADD_FAILURE() << leak.owner << " leaks";
    };
    auto allocator = GetParam().vma ? *VMAAllocator::Open(stand_.device())
                                    : *DirectAllocator::Open(stand_.device());
    device_ = *DeviceBudgetManager::Open(std::move(allocator), own);
  }
  // The manager's end gives everything back, and the layer knows.
  void TearDown() override {
    device_.reset();
    EXPECT_EQ(stand_.LayerBlocks(), 0);
  }

  DeviceResult<TrackedBuffer> Buffer(std::int64_t bytes, const MemoryRequest& request = {}) {
    return device_->CreateBuffer({.bytes = bytes, .usage = kUsage}, request);
  }
  static ImageDescription Picture(std::uint64_t size) {
    const auto side = static_cast<std::uint32_t>(size);
    return {.format = VK_FORMAT_R8G8B8A8_UNORM,
            .width = side,
            .height = side,
            .usage = kImageCopySource | kImageSampled};
  }

  // The three counts of what was taken, and the two of what is placed in it.
  void ExpectEqualCounts() {
    const DeviceSnapshot snapshot = device_->snapshot();
    const MemoryStatistics statistics = device_->allocator().Statistics();
    std::int64_t blocks = 0;
    std::int64_t placed = 0;
    std::int64_t kinds = 0;
    std::int64_t owners = 0;
    for (std::uint32_t heap = 0; heap < snapshot.heaps.size(); ++heap) {
      const std::int64_t ledger = snapshot.heaps[heap].blocks.used;
      ASSERT_EQ(ledger, stand_.LayerBytes(heap)) << "heap " << heap;
      ASSERT_EQ(ledger, statistics[heap].block_bytes) << "heap " << heap;
      blocks += ledger;
      placed += statistics[heap].allocation_bytes;
    }
    for (const BudgetSnapshot& kind : snapshot.kinds) kinds += kind.used;
    for (const DeviceOwnerUsage& owner : snapshot.owners) owners += owner.usage.used;
    ASSERT_EQ(snapshot.device.used, blocks);
    ASSERT_EQ(kinds, placed);
    ASSERT_EQ(owners, placed);
  }
  std::int64_t PeakOf(std::uint32_t heap) const {
    return stand_.layer().HeapCount(heap).peak_bytes;
  }

  TestStand stand_;
  std::unique_ptr<DeviceBudgetManager> device_;
};

INSTANTIATE_TEST_SUITE_P(Vulkan, DeviceBudgetTest,
                         testing::Values(DeviceCase{"VmaOneHeap", TestStand::kSmallHeap, true},
                                         DeviceCase{"VmaTwoHeaps", TestStand::kTwoHeaps, true},
                                         DeviceCase{"DirectOneHeap", TestStand::kSmallHeap, false},
                                         DeviceCase{"DirectTwoHeaps", TestStand::kTwoHeaps, false}),
                         [](const auto& tested) { return std::string(tested.param.name); });

// The experiment that VMA's own flag fails (see VmaAloneTest below): more buffers than fit.
TEST_P(DeviceBudgetTest, BuffersStopAtTheLimit) {
  constexpr std::int64_t kLimit = 192 * kMiB;
  DeviceOptions options;
  options.limit = kLimit;
  Open(options);
  for (const std::int64_t bytes : {kMiB, 4 * kMiB}) {
    std::vector<TrackedBuffer> buffers;
    DeviceError refusal;
    while (buffers.size() < 600) {
      auto buffer = Buffer(bytes);
      if (!buffer) {
        refusal = buffer.error();
        break;
      }
      buffers.push_back(std::move(*buffer));
    }
    EXPECT_EQ(refusal.reason, Reason::kBudget);
    EXPECT_EQ(refusal.budget.budget, &device_->budget());
    EXPECT_EQ(static_cast<std::int64_t>(buffers.size()) * bytes, kLimit);  // and not a byte less
    ExpectEqualCounts();
    EXPECT_LE(PeakOf(0), kLimit);
  }
}

TEST_P(DeviceBudgetTest, EveryHeapHasItsOwnLimit) {
  DeviceOptions options;
  options.heap_limits[0] = 8 * kMiB;
  options.heap_limits[1] = 3 * kMiB;
  Open(options);
  std::vector<TrackedBuffer> buffers;
  for (const MemoryUse use : {MemoryUse::kDevice, MemoryUse::kUpload, MemoryUse::kReadback}) {
    for (int i = 0; i < 20; ++i) {
      auto buffer = Buffer(kMiB, {.use = use});
      if (!buffer) {
        EXPECT_EQ(buffer.error().reason, Reason::kBudget);
        break;
      }
      buffers.push_back(std::move(*buffer));
    }
  }
  EXPECT_LE(PeakOf(0), 8 * kMiB);
  EXPECT_LE(PeakOf(1), 3 * kMiB);
  ExpectEqualCounts();
  // What may be elsewhere goes there when its heap is full.
  auto spilled = Buffer(kKiB, {.use = MemoryUse::kDeviceOrHost, .dedicated = true});
  if (stand_.LayerBytes(1) < 3 * kMiB && device_->snapshot().heaps.size() == 2) {
    ASSERT_TRUE(spilled);
    EXPECT_EQ((*spilled)->info.heap, 1U);
  }
}

TEST_P(DeviceBudgetTest, EightThreadsOfEverythingStayWithin) {
  constexpr std::int64_t kLimit = 32 * kMiB;
  constexpr std::int64_t kHostLimit = 6 * kMiB;
  DeviceOptions options;
  options.limit = kLimit;
  options.heap_limits[1] = kHostLimit;
  Open(options);
  const auto needs = device_->allocator().Needs(BufferDescription{.bytes = kMiB, .usage = kUsage});
  ASSERT_TRUE(needs);
  const auto pool =
      device_->allocator().CreatePool({.types = needs->types, .block_bytes = 2 * kMiB});
  const PoolHandle shared = pool ? *pool : PoolHandle::kNone;
  std::atomic<int> refused{0};
  std::latch all_have_theirs(8);  // one after another, they would all fit
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed);
      std::vector<TrackedBuffer> buffers;
      std::vector<TrackedImage> images;
      for (int i = 0; i < 150; ++i) {
        const auto bytes = static_cast<std::int64_t>(random() % (2 * kMiB)) + 1;
        switch (random() % 6) {
          case 0:
            buffers.erase(buffers.begin(), std::next(buffers.begin(), std::ssize(buffers) / 2));
            break;
          case 1:
            images.erase(images.begin(), std::next(images.begin(), std::ssize(images) / 2));
            break;
          case 2:
            if (auto image = device_->CreateImage(Picture(random() % 700 + 1))) {
              images.push_back(std::move(*image));
            } else {
              ++refused;
            }
            break;
          default: {
            MemoryRequest request{.dedicated = random() % 3 == 0};
            if (random() % 4 == 0) request.use = MemoryUse::kUpload;
            if (!request.dedicated && request.use == MemoryUse::kDevice && random() % 2 == 0) {
              request.pool = shared;
            }
            if (auto buffer = Buffer(bytes, request)) {
              buffers.push_back(std::move(*buffer));
            } else {
              EXPECT_TRUE(buffer.error().reason == Reason::kBudget ||
                          buffer.error().reason == Reason::kNoRoom)
                  << DeviceErrorName(buffer.error().reason);
              ++refused;
            }
          }
        }
      }
      all_have_theirs.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(refused.load(), 0);
  EXPECT_LE(PeakOf(0), kLimit);
  EXPECT_LE(PeakOf(1), kHostLimit);
  EXPECT_LE(device_->snapshot().device.peak, kLimit);
  ExpectEqualCounts();
  device_->allocator().DestroyPool(shared);
}

TEST_P(DeviceBudgetTest, AThousandStepsCountTheSameThreeTimes) {
  DeviceOptions options;
  options.limit = 80 * kMiB;
  options.kind_limits[static_cast<std::size_t>(DeviceKind::kStaging)] = 5 * kMiB;
  Open(options);
  DeviceOwner* const meshes = *device_->Owner("meshes", 30 * kMiB);
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<TrackedBuffer> buffers;
  std::vector<TrackedImage> images;
  std::vector<TrackedMemory> memories;
  const auto drop = [&](auto& list) {
    if (list.empty()) return;
    std::swap(list[random() % list.size()], list.back());
    list.pop_back();
  };
  for (int step = 0; step < 1000; ++step) {
    const auto bytes = static_cast<std::int64_t>(random() % (2 * kMiB)) + 1;
    const DeviceAccount account{.owner = random() % 2 == 0 ? meshes : nullptr,
                                .staging = random() % 3 == 0};
    MemoryRequest request{.dedicated = random() % 4 == 0};
    if (account.staging) request.use = MemoryUse::kUpload;
    switch (random() % 8) {
      case 0: drop(buffers); break;
      case 1: drop(buffers); break;
      case 2: drop(images); break;
      case 3: drop(memories); break;
      case 4:
        if (auto image = device_->CreateImage(Picture(random() % 600 + 1), {}, account)) {
          images.push_back(std::move(*image));
        }
        break;
      case 5:
        if (auto memory = device_->Allocate({.bytes = bytes, .types = ~0U}, {}, account)) {
          memories.push_back(std::move(*memory));
        }
        break;
      default:
        if (auto buffer =
                device_->CreateBuffer({.bytes = bytes, .usage = kUsage}, request, account)) {
          buffers.push_back(std::move(*buffer));
        }
    }
    ASSERT_NO_FATAL_FAILURE(ExpectEqualCounts()) << "step " << step;
  }
  EXPECT_LE(PeakOf(0), options.limit);
  EXPECT_LE(meshes->budget().peak(), 30 * kMiB);
  EXPECT_LE(device_->kind_budget(DeviceKind::kStaging).peak(), 5 * kMiB);
}

TEST_P(DeviceBudgetTest, EveryBlockOfTheDriverFailsInTurn) {
  Open({});
  const std::string rules = GetParam().rules;
  for (int nth = 1; nth <= 10; ++nth) {
    stand_.SetRules(rules + ";fail=" + std::to_string(nth));
    {
      std::vector<TrackedBuffer> buffers;
      for (int i = 0; i < 4; ++i) {
        auto buffer = Buffer(kMiB, {.use = i % 2 == 0 ? MemoryUse::kDevice : MemoryUse::kReadback,
                                    .dedicated = i >= 2});
        if (buffer) {
          buffers.push_back(std::move(*buffer));
        } else {
          EXPECT_EQ(buffer.error().reason, Reason::kDeviceMemory);
        }
      }
      const auto image = device_->CreateImage(Picture(100), {.dedicated = true});
      const auto memory = device_->Allocate({.bytes = kMiB, .types = ~0U}, {.dedicated = true});
      ExpectEqualCounts();
    }
    const DeviceSnapshot after = device_->snapshot();
    for (const BudgetSnapshot& kind : after.kinds) EXPECT_EQ(kind.charged, 0);
    ExpectEqualCounts();
  }
}

TEST_P(DeviceBudgetTest, AliasesAreChargedOnceAndFreedOnce) {
  Open({});
  const BufferDescription part{.bytes = 64 * kKiB, .usage = kUsage};
  MemoryNeeds needs = *device_->allocator().Needs(part);
  needs.bytes *= 2;
  auto memory = device_->Allocate(needs, {.can_alias = true});
  ASSERT_TRUE(memory);
  const DeviceSnapshot before = device_->snapshot();
  {
    auto one = device_->PlaceBuffer(*memory, 0, part);
    auto same = device_->PlaceBuffer(*memory, 0, part);
    ASSERT_TRUE(one && same);
    EXPECT_EQ(one->charged(), 0);
    EXPECT_EQ(device_->snapshot().device.used, before.device.used);
    ExpectEqualCounts();
  }
  EXPECT_EQ(device_->snapshot().device.used, before.device.used);
  EXPECT_EQ(device_->kind_budget(DeviceKind::kShared).used(), memory->charged());
  memory->Reset();
  EXPECT_EQ(device_->kind_budget(DeviceKind::kShared).used(), 0);
  ExpectEqualCounts();
}

// Moves whatever may be moved, and tells the owners where their buffers are now.
class Moving final : public MemoryMover {
 public:
  Moving(IMemoryAllocator& allocator, ITransferQueue& queue, std::vector<TrackedBuffer>& buffers)
      : allocator_(allocator), queue_(queue), buffers_(buffers) {}
  void Move(std::span<MemoryMove> moves) noexcept override {
    for (MemoryMove& move : moves) {
      TrackedBuffer& buffer = buffers_[static_cast<std::size_t>(move.tag - 1)];
      const auto placed =
          allocator_.PlaceBuffer(move.target, 0, {.bytes = buffer->bytes, .usage = kUsage});
      if (!placed) continue;
      const BufferCopy copy{
          .source = buffer->buffer, .target = placed->buffer, .bytes = buffer->bytes};
      const auto value = queue_.Submit({&copy, 1});
      EXPECT_TRUE(value && queue_.Wait(*value, std::chrono::seconds(30)));
      allocator_.Destroy(DeviceBuffer{.buffer = buffer->buffer});
      buffer.Replace(placed->buffer);
      move.done = true;
    }
  }

 private:
  IMemoryAllocator& allocator_;
  ITransferQueue& queue_;
  std::vector<TrackedBuffer>& buffers_;
};

TEST_P(DeviceBudgetTest, DefragmentingGivesBackWhatItFrees) {
  Open({});
  auto queue = *VulkanTransferQueue::Open(stand_.device(), stand_.queue(), stand_.family());
  std::vector<TrackedBuffer> buffers;
  for (std::uint64_t tag = 1; tag <= 120; ++tag) {
    buffers.push_back(*Buffer(512 * kKiB, {.tag = tag}));
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    if (i % 4 != 0) buffers[i].Reset();
  }
  const std::int64_t before = device_->budget().used();
  const std::int64_t in_use = device_->kind_budget(DeviceKind::kBuffer).used();
  Moving mover(device_->allocator(), *queue, buffers);
  std::int64_t freed = 0;
  for (int pass = 0; pass < 50; ++pass) {
    const auto done = device_->allocator().Defragment({.max_moves = 16}, mover);
    ASSERT_TRUE(done);
    if (done->moves == 0) break;
    freed += done->freed_bytes;
    ASSERT_NO_FATAL_FAILURE(ExpectEqualCounts()) << "pass " << pass;
  }
  EXPECT_EQ(device_->budget().used(), before - freed);
  EXPECT_EQ(device_->kind_budget(DeviceKind::kBuffer).used(), in_use);
  if (GetParam().vma) {
    EXPECT_GT(freed, 0);
  }
  buffers.clear();
}

TEST_P(DeviceBudgetTest, TheDriversBudgetLowersTheHeap) {
  Open({});
  const std::string rules = GetParam().rules;
  const std::int64_t size = device_->snapshot().heaps[0].bytes;
  stand_.SetRules(rules + ";budget=10Mi,10Mi");
  ASSERT_TRUE(device_->PollDriver());
  EXPECT_LE(device_->heap_budget(0).limit(), 10 * kMiB);
  auto small = Buffer(4 * kMiB, {.dedicated = true});
  EXPECT_TRUE(small);
  const auto large = Buffer(7 * kMiB, {.dedicated = true});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().reason, Reason::kBudget);
  // More than there is, and nothing at all: neither can be meant.
  stand_.SetRules(rules + ";budget=1Ei,1Ei");
  ASSERT_TRUE(device_->PollDriver());
  EXPECT_LE(device_->heap_budget(0).limit(), size);
  EXPECT_TRUE(Buffer(7 * kMiB, {.dedicated = true}));
  ExpectEqualCounts();
}

TEST_P(DeviceBudgetTest, AllocatingAsksTheDriverNothing) {
  DeviceOptions options;
  options.limit = 64 * kMiB;
  Open(options);
  const std::int64_t before = stand_.layer().BudgetQueries();  // of this thread
  for (int i = 0; i < 300; ++i) {
    const auto buffer = Buffer(kMiB, {.dedicated = i % 2 == 0});
    ASSERT_TRUE(buffer);
  }
  EXPECT_EQ(stand_.layer().BudgetQueries(), before);
}

TEST_P(DeviceBudgetTest, EvictionComesBeforeRefusal) {
  TrackedBuffer cache;
  DeviceOptions options;
  options.limit = 8 * kMiB;
  options.evict = [&](const EvictionRequest& request) {
    EXPECT_EQ(request.error.reason, Reason::kBudget);
    const bool had = static_cast<bool>(cache);
    cache.Reset();
    return had;
  };
  Open(options);
  cache = *Buffer(6 * kMiB, {.dedicated = true});
  const auto wanted = Buffer(7 * kMiB, {.dedicated = true});
  EXPECT_TRUE(wanted);
  EXPECT_FALSE(cache);
  EXPECT_FALSE(Buffer(7 * kMiB, {.dedicated = true}));
  EXPECT_LE(PeakOf(0), 8 * kMiB);
  ExpectEqualCounts();
}

TEST(DeviceBudgetOpenTest, WorksWithoutTheExtension) {
  TestStand stand("heaps=256Mi,512Mi;hide_budget=1");
  auto device = *DeviceBudgetManager::Open(*VMAAllocator::Open(stand.device()), {});
  const auto polled = device->PollDriver();
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().reason, Reason::kUnsupported);
  EXPECT_TRUE(device->CreateBuffer({.bytes = kMiB, .usage = kUsage}));
}

// Why all this: VMA's own flag, on the same device, with the same budget.
TEST(VmaAloneTest, PassesItsBudget) {
  TestStand stand("heaps=256Mi,512Mi;budget=192Mi");
  VmaVulkanFunctions functions{};
  functions.vkGetInstanceProcAddr = vkGetInstanceProcAddr;
  functions.vkGetDeviceProcAddr = vkGetDeviceProcAddr;
  VmaAllocatorCreateInfo info{};
  info.flags = VMA_ALLOCATOR_CREATE_EXT_MEMORY_BUDGET_BIT;
  info.physicalDevice = stand.device().physical;
  info.device = stand.device().device;
  info.instance = stand.device().instance;
  info.pVulkanFunctions = &functions;
  info.vulkanApiVersion = VK_API_VERSION_1_3;
  VmaAllocator vma = nullptr;
  ASSERT_EQ(vmaCreateAllocator(&info, &vma), VK_SUCCESS);
  VkBufferCreateInfo buffer_info{};
  buffer_info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  buffer_info.size = 4 * kMiB;
  buffer_info.usage = kUsage;
  VmaAllocationCreateInfo memory_info{};
  memory_info.flags = VMA_ALLOCATION_CREATE_WITHIN_BUDGET_BIT;
  memory_info.requiredFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  std::vector<std::pair<VkBuffer, VmaAllocation>> made;
  for (int i = 0; i < 60; ++i) {
    VkBuffer buffer = VK_NULL_HANDLE;
    VmaAllocation allocation = nullptr;
    if (vmaCreateBuffer(vma, &buffer_info, &memory_info, &buffer, &allocation, nullptr) !=
        VK_SUCCESS) {
      break;
    }
    made.emplace_back(buffer, allocation);
  }
  EXPECT_GT(stand.LayerBytes(0), 192 * kMiB);
  for (const auto& [buffer, allocation] : made) vmaDestroyBuffer(vma, buffer, allocation);
  vmaDestroyAllocator(vma);
}

}  // namespace
}  // namespace mete
