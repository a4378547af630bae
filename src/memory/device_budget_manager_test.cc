#include "mete/device_budget_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory/fake_allocator.h"
#include "mete/host_budget_manager.h"

namespace mete {
namespace {

using Reason = DeviceError::Reason;
constexpr std::int64_t kKiB = 1 << 10;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::uint32_t kUsage = kBufferStorage | kBufferCopyTarget;

// Nobody asks the driver unless a test does.
DeviceOptions Quiet(std::int64_t limit = kNoLimit) {
  DeviceOptions options;
  options.limit = limit;
  options.driver_poll = {};
  return options;
}

struct Fixture {
  FakeAllocator* fake = nullptr;
  std::unique_ptr<DeviceBudgetManager> device;

  explicit Fixture(DeviceOptions options = Quiet(), const FakeOptions& fakes = {}) {
    if (!options.leaked) {
      options.leaked = [](const auto& left) { ADD_FAILURE() << left.size() << " leaks"; };
    }
    auto owned = std::make_unique<FakeAllocator>(fakes);
    fake = owned.get();
    auto opened = DeviceBudgetManager::Open(std::move(owned), options);
    if (!opened) ADD_FAILURE() << opened.error().ToString();
    device = std::move(*opened);
  }

  DeviceResult<TrackedBuffer> Buffer(std::int64_t bytes, const MemoryRequest& request = {},
                                     const DeviceAccount& account = {}) {
    return device->CreateBuffer({.bytes = bytes, .usage = kUsage}, request, account);
  }
  static ImageDescription Picture(std::uint32_t side) {
    return {.format = 37, .width = side, .height = side, .usage = kImageSampled};
  }

  // The ledger, the allocator and the driver count the same.
  void ExpectEqualCounts() {
    const MemoryStatistics statistics = device->allocator().Statistics();
    std::int64_t sum = 0, allocated = 0;
    for (std::uint32_t heap = 0; heap < 2; ++heap) {
      const std::int64_t used = device->heap_budget(heap).used();
      ASSERT_EQ(used, fake->Count(heap).bytes) << "heap " << heap;
      ASSERT_EQ(used, statistics[heap].block_bytes) << "heap " << heap;
      sum += used;
      allocated += statistics[heap].allocation_bytes;
    }
    ASSERT_EQ(device->budget().used(), sum);
    std::int64_t kinds = 0;
    for (std::size_t kind = 0; kind < kDeviceKinds; ++kind) {
      kinds += device->kind_budget(static_cast<DeviceKind>(kind)).used();
    }
    ASSERT_EQ(kinds, allocated);
  }
};

TEST(DeviceBudgetManagerTest, BlocksAreChargedToTheirHeapAndUsesToTheirKind) {
  Fixture f;
  {
    auto buffer = f.Buffer(100 * kKiB);
    auto upload = f.Buffer(kMiB, {.use = MemoryUse::kUpload}, {.staging = true});
    auto image = f.device->CreateImage(Fixture::Picture(256));
    ASSERT_TRUE(buffer && upload && image);
    f.ExpectEqualCounts();
    EXPECT_EQ(f.device->heap_budget(0).used(), 4 * kMiB) << "one block";
    EXPECT_EQ(f.device->kind_budget(DeviceKind::kBuffer).used(), (*buffer)->info.bytes);
    EXPECT_EQ(f.device->kind_budget(DeviceKind::kStaging).used(), kMiB);
    EXPECT_EQ(f.device->kind_budget(DeviceKind::kImage).used(), 256 * kKiB);
    EXPECT_EQ(image->charged(), 256 * kKiB);
  }
  f.ExpectEqualCounts();
  EXPECT_EQ(f.device->budget().used(), 0);
}

// VMA 3.2.1 granted 600 MiB of 192 this way, and 2,400 in buffers of 4 MiB.
TEST(DeviceBudgetManagerTest, NoHeapIsEverPassedByAByte) {
  for (const std::int64_t limit : {std::int64_t{0}, std::int64_t{1}, 4 * kMiB - 1, 4 * kMiB,
                                   4 * kMiB + 1, 19 * kMiB + 12345}) {
    for (const std::int64_t size : {kKiB, kMiB, 4 * kMiB}) {
      DeviceOptions options = Quiet();
      options.heap_limits[0] = limit;
      Fixture f(options);
      std::vector<TrackedBuffer> kept;
      DeviceError error;
      for (int i = 0; i < 600; ++i) {
        auto buffer = f.Buffer(size, {.dedicated = i % 7 == 3});
        if (buffer) {
          kept.push_back(std::move(*buffer));
        } else {
          error = buffer.error();
        }
      }
      EXPECT_LE(f.fake->Count(0).peak_bytes, limit);
      EXPECT_EQ(error.reason == Reason::kBudget, f.fake->Count(0).bytes + size > limit);
      if (error.reason == Reason::kBudget) {
        EXPECT_EQ(error.budget.budget, &f.device->heap_budget(0));
        EXPECT_EQ(error.budget.limit, limit);
        EXPECT_EQ(error.ToError().code, ErrorCode::kLimitExceeded);
      }
      f.ExpectEqualCounts();
    }
  }
}

TEST(DeviceBudgetManagerTest, TheLimitOfTheDeviceHoldsOverAllHeaps) {
  Fixture f(Quiet(6 * kMiB), {.block_bytes = kMiB});
  std::vector<TrackedBuffer> kept;
  for (int i = 0; i < 20; ++i) {
    auto buffer = f.Buffer(kMiB, {.use = i % 2 == 0 ? MemoryUse::kDevice : MemoryUse::kUpload});
    if (buffer) kept.push_back(std::move(*buffer));
  }
  EXPECT_EQ(kept.size(), 6u);
  EXPECT_EQ(f.fake->Count(0).bytes + f.fake->Count(1).bytes, 6 * kMiB);
  auto refused = f.Buffer(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().budget.budget, &f.device->budget());
}

TEST(DeviceBudgetManagerTest, KindsAndOwnersHaveLimitsOfTheirOwn) {
  DeviceOptions options = Quiet();
  options.kind_limits[static_cast<std::size_t>(DeviceKind::kImage)] = kMiB;
  Fixture f(options);
  auto image = f.device->CreateImage(Fixture::Picture(512));  // 1 MiB to the byte
  ASSERT_TRUE(image);
  const std::int64_t blocks = f.device->budget().used();
  const auto refused = f.device->CreateImage(Fixture::Picture(1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::kBudget);
  EXPECT_EQ(refused.error().budget.budget, &f.device->kind_budget(DeviceKind::kImage));
  EXPECT_EQ(f.device->budget().used(), blocks);

  // Within the limit by what is asked for, past it by one byte of what the allocator gives.
  const auto needs = f.device->allocator().Needs(BufferDescription{.bytes = 701, .usage = kUsage});
  ASSERT_TRUE(needs && needs->bytes > 701);
  DeviceOwner* const terrain = *f.device->Owner("terrain", 256 + needs->bytes - 1);
  EXPECT_EQ(*f.device->Owner("terrain"), terrain);
  EXPECT_FALSE(f.device->Owner(""));
  EXPECT_FALSE(f.device->Owner("less than nothing", -1));
  auto mesh = f.Buffer(256, {}, {.owner = terrain});
  ASSERT_TRUE(mesh);
  EXPECT_EQ(terrain->live_count(), 1);
  EXPECT_EQ(terrain->budget().used(), 256);
  const auto second = f.Buffer(701, {}, {.owner = terrain});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().budget.budget, &terrain->budget());
  EXPECT_EQ(f.device->kind_budget(DeviceKind::kBuffer).used(), 256);
  EXPECT_EQ(terrain->budget().used(), 256);
  f.ExpectEqualCounts();
}

TEST(DeviceBudgetManagerTest, ARefusalChangesNothing) {
  Fixture f(Quiet(4 * kMiB));
  auto kept = f.Buffer(kMiB);
  ASSERT_TRUE(kept);
  const std::string before = f.device->snapshot().Json();
  EXPECT_FALSE(f.Buffer(8 * kMiB));
  EXPECT_FALSE(f.Buffer(0));
  EXPECT_FALSE(f.Buffer(-1));
  EXPECT_FALSE(f.Buffer(kNoLimit));
  EXPECT_FALSE(f.Buffer(kMiB, {.use = MemoryUse::kUpload}));
  EXPECT_FALSE(f.Buffer(kKiB, {.priority = 2.0F}));
  EXPECT_FALSE(f.device->CreateImage(Fixture::Picture(0)));
  EXPECT_FALSE(f.device->CreateImage(Fixture::Picture(4096)));
  std::string after = f.device->snapshot().Json();
  EXPECT_EQ(f.device->snapshot().refusals, 8);
  const auto same = [](std::string text) {
    return text.replace(text.find("\"refusals\":"), 12, "");
  };
  EXPECT_EQ(same(after), same(before));
}

TEST(DeviceBudgetManagerTest, WhatIsMovedIsFreedOnce) {
  Fixture f;
  TrackedBuffer first = std::move(*f.Buffer(kKiB));
  TrackedBuffer second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what it promises
  first.Reset();
  EXPECT_EQ(f.device->kind_budget(DeviceKind::kBuffer).used(), kKiB);
  second = std::move(*f.Buffer(2 * kKiB));
  EXPECT_EQ(f.device->kind_budget(DeviceKind::kBuffer).used(), 2 * kKiB);
  auto& self = second;
  second = std::move(self);
  EXPECT_TRUE(second);
  second.Reset();
  second.Reset();
  EXPECT_EQ(f.device->budget().used(), 0);
}

// The first implementation freed the source with each alias.
TEST(DeviceBudgetManagerTest, AliasesAreChargedOnceAndFreedOnce) {
  Fixture f;
  const auto needs = f.device->allocator().Needs(Fixture::Picture(256));
  ASSERT_TRUE(needs);
  auto memory = f.device->Allocate(*needs, {.can_alias = true});
  ASSERT_TRUE(memory);
  {
    auto shadow = f.device->PlaceImage(*memory, 0, Fixture::Picture(256));
    auto bloom = f.device->PlaceImage(*memory, 0, Fixture::Picture(128));
    auto lights = f.device->PlaceBuffer(*memory, 64 * kKiB, {.bytes = kKiB, .usage = kUsage});
    ASSERT_TRUE(shadow && bloom && lights);
    EXPECT_EQ(lights->charged(), 0);
    EXPECT_EQ(f.device->kind_budget(DeviceKind::kShared).used(), needs->bytes);
    EXPECT_FALSE(f.device->PlaceImage(*memory, 0, Fixture::Picture(512)));
    f.ExpectEqualCounts();
  }
  EXPECT_EQ(f.device->kind_budget(DeviceKind::kShared).used(), needs->bytes);
  EXPECT_GT(f.device->budget().used(), 0);
  memory->Reset();
  EXPECT_EQ(f.device->budget().used(), 0);
}

TEST(DeviceBudgetManagerTest, EvictsBeforeItRefuses) {
  Fixture* self = nullptr;
  std::vector<TrackedBuffer> cache;
  std::vector<int> attempts;
  DeviceOptions options = Quiet(4 * kMiB);
  options.evict = [&](const EvictionRequest& request) {
    attempts.push_back(request.attempt);
    EXPECT_EQ(request.bytes, kMiB);
    EXPECT_EQ(request.error.reason, Reason::kBudget);
    EXPECT_FALSE(self->Buffer(3 * kMiB, {.dedicated = true})) << "asks no hook itself";
    if (cache.empty()) return false;
    cache.pop_back();
    return true;
  };
  Fixture f(options, {.block_bytes = kMiB});
  self = &f;
  for (int i = 0; i < 4; ++i) cache.push_back(std::move(*f.Buffer(kMiB, {.dedicated = true})));
  std::vector<TrackedBuffer> kept;
  for (int i = 0; i < 4; ++i) {
    auto buffer = f.Buffer(kMiB, {.dedicated = true});
    ASSERT_TRUE(buffer);
    kept.push_back(std::move(*buffer));
  }
  EXPECT_EQ(attempts, (std::vector<int>{0, 0, 0, 0}));
  EXPECT_FALSE(f.Buffer(kMiB, {.dedicated = true})) << "nothing is left to give up";
  EXPECT_EQ(f.device->snapshot().evictions, 4);
  EXPECT_LE(f.fake->Count(0).peak_bytes, 4 * kMiB);
}

TEST(DeviceBudgetManagerTest, AHookThatGivesNothingUpIsNotAskedForEver) {
  int asked = 0;
  DeviceOptions options = Quiet(0);
  options.evict = [&](const EvictionRequest&) { return ++asked > 0; };
  Fixture f(options);
  EXPECT_FALSE(f.Buffer(kMiB));
  EXPECT_EQ(asked, 8);
}

TEST(DeviceBudgetManagerTest, AHookIsAskedAlsoWhenTheDriverHasNoMemory) {
  std::vector<TrackedBuffer> cache;
  DeviceOptions options = Quiet();
  options.evict = [&](const EvictionRequest& request) {
    EXPECT_EQ(request.error.reason, Reason::kDeviceMemory);
    cache.clear();
    return true;
  };
  Fixture f(options);
  cache.push_back(std::move(*f.Buffer(8 * kMiB)));
  f.fake->FailBlock(1);
  EXPECT_TRUE(f.Buffer(8 * kMiB));
  EXPECT_TRUE(cache.empty());
}

// Calls every function of the manager from a callback.
TEST(DeviceBudgetManagerTest, CallbacksComeOncePerCrossingAndMayCallAnything) {
  DeviceOptions options = Quiet(10 * kMiB);
  Fixture f(options, {.block_bytes = kMiB});
  std::vector<std::string> seen;
  WarningSubscription mine;
  mine = f.device->Subscribe([&](const BudgetWarning& warning) {
    seen.push_back(std::string(warning.budget) + " " + std::to_string(warning.percent));
    auto more = f.Buffer(kKiB);
    static_cast<void>(f.Buffer(64 * kMiB));
    static_cast<void>(f.device->snapshot().Json());
    static_cast<void>(f.device->leaks());
    static_cast<void>(f.device->Owner("from a callback"));
    static_cast<void>(f.device->PollDriver());
    f.device->SetHeapLimit(1, 50 * kMiB);
    f.device->BeginFrame();
    f.device->DeliverWarnings();
    static_cast<void>(f.device->Subscribe([](const BudgetWarning&) {}));
    std::thread([&] { static_cast<void>(f.Buffer(kKiB)); }).join();
  });
  std::vector<TrackedBuffer> kept;
  for (int i = 0; i < 7; ++i) kept.push_back(std::move(*f.Buffer(kMiB)));
  EXPECT_TRUE(seen.empty());
  kept.push_back(std::move(*f.Buffer(kMiB)));
  EXPECT_EQ(seen, std::vector<std::string>{"device 80"});
  kept.push_back(std::move(*f.Buffer(kMiB)));
  EXPECT_EQ(seen.size(), 1u);
  f.device->budget().SetLimit(8 * kMiB);
  f.device->DeliverWarnings();
  EXPECT_EQ(seen.back(), "device 100") << "lowered below what is used";
  EXPECT_FALSE(f.Buffer(kMiB));
  mine.End();
}

// A frame that allocates and frees 64 MiB reported nothing in the first implementation.
TEST(DeviceBudgetManagerTest, FramesAreGrossAndNet) {
  Fixture f;
  auto kept = f.Buffer(kMiB);
  static_cast<void>(f.Buffer(64 * kMiB));
  const DeviceFrame first = f.device->BeginFrame();
  EXPECT_EQ(first.frame, 1u);
  EXPECT_EQ(first.created, 2);
  EXPECT_EQ(first.created_bytes, 65 * kMiB);
  EXPECT_EQ(first.freed_bytes, 64 * kMiB);
  EXPECT_EQ(first.net_bytes, kMiB);
  EXPECT_EQ(first.peak_block_bytes, 68 * kMiB);
  kept->Reset();
  const DeviceFrame second = f.device->BeginFrame();
  EXPECT_EQ(second.created, 0);
  EXPECT_EQ(second.net_bytes, -kMiB);
  EXPECT_EQ(second.peak_block_bytes, 4 * kMiB);
  EXPECT_EQ(f.device->BeginFrame().peak_block_bytes, 0);
  EXPECT_EQ(f.device->snapshot().device.peak, 68 * kMiB) << "of all frames";
}

TEST(DeviceBudgetManagerTest, FollowsTheDriverAndClampsNonsense) {
  constexpr std::int64_t kHeap = 256 * kMiB;
  constexpr std::uint64_t kExbibytes = std::uint64_t{16} << 60;
  struct Row {
    std::uint64_t budget, usage;
    std::int64_t limit;
  };
  const auto mib = [](std::int64_t n) { return static_cast<std::uint64_t>(n * kMiB); };
  const Row rows[] = {
      {mib(200), mib(8), 200 * kMiB},   // all of it is ours
      {mib(200), mib(0), 200 * kMiB},   // less than ours: it lags behind
      {mib(200), mib(58), 150 * kMiB},  // 50 are somebody else's
      {mib(256), mib(256), 8 * kMiB},   // the heap is full, of others
      {mib(100), mib(150), 0},          // others have all that there is, and more
      {0, mib(8), kHeap},               // no budget at all
      {kExbibytes - 1, mib(8), kHeap},  // 16 EiB
      {mib(200), kExbibytes - 1, 200 * kMiB},
      {mib(257), mib(8), kHeap},
  };
  Fixture f;
  auto ours = f.Buffer(8 * kMiB);
  EXPECT_EQ(f.device->heap_budget(0).limit(), kHeap) << "never more than there is";
  for (const Row& row : rows) {
    DriverBudget said{};
    said[0] = {row.budget, row.usage};
    f.fake->set_driver_budget(said);
    ASSERT_TRUE(f.device->PollDriver());
    EXPECT_EQ(f.device->heap_budget(0).limit(), row.limit) << row.budget << " " << row.usage;
    EXPECT_EQ(f.device->snapshot().heaps[0].driver.budget, row.budget);
  }
  DriverBudget said{};
  said[0] = {mib(100), mib(8)};
  f.fake->set_driver_budget(said);
  f.device->SetHeapLimit(0, 90 * kMiB);
  ASSERT_TRUE(f.device->PollDriver());
  EXPECT_EQ(f.device->heap_budget(0).limit(), 90 * kMiB) << "the program's is less";
  f.device->SetHeapLimit(0, kNoLimit);
  EXPECT_EQ(f.device->heap_budget(0).limit(), 100 * kMiB);
  EXPECT_FALSE(f.Buffer(120 * kMiB));
}

TEST(DeviceBudgetManagerTest, NoThreadThatAllocatesAsksTheDriver) {
  Fixture f;
  for (int i = 0; i < 1000; ++i) {
    auto buffer = f.Buffer(kMiB, {.dedicated = i % 2 == 0});
    ASSERT_TRUE(buffer);
    if (i % 10 == 0) f.device->BeginFrame();
  }
  EXPECT_EQ(f.fake->budget_queries(), 0);
  EXPECT_EQ(f.device->snapshot().driver_age.count(), -1);
}

TEST(DeviceBudgetManagerTest, AThreadOfItsOwnAsksTheDriver) {
  DeviceOptions options = Quiet();
  options.driver_poll = std::chrono::milliseconds(100);
  Fixture f(options);
  DriverBudget said{};
  said[0] = {static_cast<std::uint64_t>(77 * kMiB), 0};
  f.fake->set_driver_budget(said);
  for (int i = 0; i < 1000 && f.device->heap_budget(0).limit() != 77 * kMiB; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(f.device->heap_budget(0).limit(), 77 * kMiB);
  EXPECT_GE(f.device->snapshot().driver_age.count(), 0);
}

TEST(DeviceBudgetManagerTest, WorksWithoutTheDriversBudget) {
  DeviceOptions options = Quiet();
  options.driver_poll = std::chrono::milliseconds(100);
  Fixture f(options, {.has_driver_budget = false});
  EXPECT_EQ(f.device->PollDriver().error().reason, Reason::kUnsupported);
  EXPECT_TRUE(f.Buffer(kMiB));
  EXPECT_EQ(f.device->heap_budget(1).limit(), 512 * kMiB);
}

TEST(DeviceBudgetManagerTest, LeaksAreReportedByOwner) {
  std::vector<MemoryLeak> reported;
  static FakeAllocator* left_behind = nullptr;  // it stays, since a resource in it is in use
  {
    DeviceOptions options = Quiet();
    options.leaked = [&](const std::vector<MemoryLeak>& leaks) { reported = leaks; };
    Fixture f(options);
    left_behind = f.fake;
    DeviceOwner* const meshes = *f.device->Owner("meshes");
    static auto* const never = new std::vector<TrackedBuffer>;
    never->push_back(std::move(*f.Buffer(kMiB, {}, {.owner = meshes})));
    auto freed = f.Buffer(kKiB);
    EXPECT_EQ(f.device->leaks().size(), 2u);
  }
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported[0].owner, "meshes");
  EXPECT_EQ(reported[0].count, 1);
  EXPECT_EQ(reported[0].bytes, kMiB);
  EXPECT_NE(left_behind, nullptr);
}

TEST(DeviceBudgetManagerTest, SeveralDevicesShareWhatIsAboveThem) {
  SharedBudget process(BudgetKind::kLevel, 6 * kMiB);
  DeviceOptions options = Quiet();
  options.parent = &process;
  {
    Fixture one(options, {.block_bytes = kMiB});
    Fixture two(options, {.block_bytes = kMiB});
    auto first = one.Buffer(4 * kMiB);
    EXPECT_EQ(two.device->budget().used(), 0) << "isolated";
    auto second = two.Buffer(4 * kMiB);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().budget.budget, &process);
    EXPECT_TRUE(two.Buffer(2 * kMiB));
  }
  EXPECT_EQ(process.charged(), 0);
}

TEST(DeviceBudgetManagerTest, ResourcesWaitForTheirFrame) {
  HostOptions host_options;
  host_options.frames = {.ready = 64 << 10, .reserve = 1 << 20, .frames_in_flight = 2};
  auto host = *HostBudgetManager::Open(host_options);
  Fixture f;
  ASSERT_TRUE(host->Defer(std::move(*f.Buffer(kMiB))));
  host->BeginFrame();
  EXPECT_EQ(f.device->kind_budget(DeviceKind::kBuffer).used(), kMiB) << "the device may read it";
  host->BeginFrame();
  EXPECT_EQ(f.device->budget().used(), 0);
}

TEST(DeviceBudgetManagerTest, EightThreadsNeverPassAnyLimit) {
  DeviceOptions options = Quiet(40 * kMiB);
  options.heap_limits[0] = 24 * kMiB;
  options.heap_limits[1] = 20 * kMiB;
  options.kind_limits[static_cast<std::size_t>(DeviceKind::kStaging)] = 10 * kMiB;
  options.evict = [](const EvictionRequest&) { return false; };
  Fixture f(options);
  std::array<std::atomic<int>, 2> outcomes{};
  std::atomic<bool> done{false};
  std::thread looks([&] {  // at the same time
    while (!done.load()) {
      EXPECT_LE(f.device->heap_budget(0).used(), 24 * kMiB);
      EXPECT_LE(f.device->budget().used(), 40 * kMiB);
      EXPECT_LE(f.device->kind_budget(DeviceKind::kStaging).used(), 10 * kMiB);
      static_cast<void>(f.device->PollDriver());
      static_cast<void>(f.device->snapshot());
      f.device->BeginFrame();
    }
  });
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed);
      std::vector<TrackedBuffer> buffers;
      std::vector<TrackedImage> images;
      for (int i = 0; i < 400; ++i) {
        const auto what = random() % 10;
        if (what < 3 && !buffers.empty()) {
          buffers.pop_back();
        } else if (what < 4 && !images.empty()) {
          images.pop_back();
        } else if (what < 6) {
          auto image = f.device->CreateImage(
              Fixture::Picture(static_cast<std::uint32_t>(1 + random() % 600)));
          ++outcomes[image ? 0 : 1];
          if (image) images.push_back(std::move(*image));
        } else {
          const bool staging = random() % 2 == 0;
          auto buffer = f.Buffer(static_cast<std::int64_t>(1 + random() % (3 * kMiB)),
                                 {.use = staging ? MemoryUse::kUpload : MemoryUse::kDevice,
                                  .dedicated = random() % 3 == 0},
                                 {.staging = staging});
          ++outcomes[buffer ? 0 : 1];
          if (buffer) buffers.push_back(std::move(*buffer));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  done.store(true);
  looks.join();
  EXPECT_GT(outcomes[0].load(), 0);
  EXPECT_GT(outcomes[1].load(), 0);
  EXPECT_LE(f.fake->Count(0).peak_bytes, 24 * kMiB);
  EXPECT_LE(f.fake->Count(1).peak_bytes, 20 * kMiB);
  EXPECT_EQ(f.device->budget().used(), 0);
  f.ExpectEqualCounts();
}

TEST(DeviceBudgetManagerTest, AThousandRandomOperationsCountTheSame) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  DeviceOptions options = Quiet(64 * kMiB);
  options.kind_limits[static_cast<std::size_t>(DeviceKind::kImage)] = 8 * kMiB;
  Fixture f(options);
  std::array<DeviceOwner*, 2> owners = {*f.device->Owner("first"),
                                        *f.device->Owner("second", 10 * kMiB)};
  std::vector<TrackedBuffer> buffers;
  std::vector<TrackedImage> images;
  for (int i = 0; i < 1500; ++i) {
    DeviceOwner* const owner = owners[random() % 2];
    const auto what = random() % 8;
    if (what < 3) {
      auto buffer =
          f.Buffer(static_cast<std::int64_t>(random() % (2 * kMiB)),
                   {.use = static_cast<MemoryUse>(random() % 4), .dedicated = random() % 4 == 0},
                   {.owner = owner, .staging = random() % 2 == 0});
      if (buffer) buffers.push_back(std::move(*buffer));
    } else if (what < 5) {
      auto image = f.device->CreateImage(
          Fixture::Picture(static_cast<std::uint32_t>(random() % 700)), {}, {.owner = owner});
      if (image) images.push_back(std::move(*image));
    } else if (what == 5 && !images.empty()) {
      std::swap(images[random() % images.size()], images.back());
      images.pop_back();
    } else if (!buffers.empty()) {
      std::swap(buffers[random() % buffers.size()], buffers.back());
      buffers.pop_back();
    }
    f.ExpectEqualCounts();
    std::int64_t live = 0;
    for (const auto& buffer : buffers) live += buffer.charged();
    for (const auto& image : images) live += image.charged();
    ASSERT_EQ(owners[0]->budget().used() + owners[1]->budget().used(), live);
    ASSERT_LE(owners[1]->budget().used(), 10 * kMiB);
    ASSERT_LE(f.device->kind_budget(DeviceKind::kImage).used(), 8 * kMiB);
  }
}

TEST(DeviceBudgetManagerTest, EveryCallAndEveryBlockFailsInTurn) {
  const auto scenario = [](Fixture& f) {
    std::vector<TrackedBuffer> kept;
    DeviceOwner* const owner = *f.device->Owner("owner", 64 * kMiB);
    for (int i = 0; i < 6; ++i) {
      auto buffer = f.Buffer(2 * kMiB, {.use = static_cast<MemoryUse>(i % 4)}, {.owner = owner});
      if (buffer) kept.push_back(std::move(*buffer));
    }
    auto image = f.device->CreateImage(Fixture::Picture(64), {.dedicated = true});
    auto memory = f.device->Allocate({.bytes = kMiB, .alignment = 256, .types = 7});
    if (memory) {
      auto placed = f.device->PlaceBuffer(*memory, 0, {.bytes = 10, .usage = kUsage});
      static_cast<void>(f.device->PlaceImage(*memory, 0, Fixture::Picture(8)));
    }
    f.device->BeginFrame();
    f.ExpectEqualCounts();
  };
  for (const bool blocks : {false, true}) {
    for (std::int64_t nth = 1; nth <= 24; ++nth) {
      Fixture f;
      if (blocks) {
        f.fake->FailBlock(nth);
      } else {
        f.fake->FailCall(nth);
      }
      scenario(f);
      EXPECT_EQ(f.device->budget().charged(), 0) << nth;
      EXPECT_TRUE(f.device->leaks().empty()) << nth;
      EXPECT_EQ(f.device->allocator().Statistics()[0].blocks, 0) << nth;
    }
  }
}

TEST(DeviceBudgetManagerTest, ALostDeviceIsSaidSoAndGivesBack) {
  Fixture f;
  auto kept = f.Buffer(kMiB);
  f.fake->set_lost(true);
  EXPECT_EQ(f.Buffer(kMiB).error().reason, Reason::kDeviceLost);
  EXPECT_EQ(f.Buffer(kMiB).error().ToError().code, ErrorCode::kSystem);
  kept->Reset();
  EXPECT_EQ(f.device->budget().used(), 0);
}

TEST(DeviceBudgetManagerTest, SnapshotsSaySo) {
  Fixture f(Quiet(100 * kMiB));
  auto mesh = f.Buffer(kMiB, {}, {.owner = *f.device->Owner("mesh \"7\"")});
  ASSERT_TRUE(f.device->PollDriver());
  const DeviceSnapshot shot = f.device->snapshot();
  EXPECT_NE(shot.Text().find("device      4 MiB of 100 MiB, peak 4 MiB"), std::string::npos)
      << shot.Text();
  EXPECT_NE(shot.Text().find("driver: asked 1 times"), std::string::npos) << shot.Text();
  const std::string json = shot.Json();
  EXPECT_NE(json.find("\"buffers\":{\"limit\":null,\"used\":1048576,"), std::string::npos) << json;
  EXPECT_NE(json.find("\"name\":\"mesh \\\"7\\\"\",\"count\":1"), std::string::npos) << json;
  EXPECT_NE(json.find("\"driver_budget\":268435456"), std::string::npos) << json;
  EXPECT_EQ(json.find('\n'), std::string::npos);
  EXPECT_EQ(shot.BenchRow().substr(0, 20), "device_used=4194304 ");
}

TEST(DeviceBudgetManagerTest, OptionsThatMakeNoSense) {
  const auto code = [](auto change) {
    DeviceOptions options = Quiet();
    change(options);
    auto opened = DeviceBudgetManager::Open(std::make_unique<FakeAllocator>(), options);
    return opened ? ErrorCode::kSystem : opened.error().code;
  };
  constexpr ErrorCode kBad = ErrorCode::kInvalidArgument;
  SharedBudget flow(BudgetKind::kFlow);
  EXPECT_EQ(code([](DeviceOptions& o) { o.limit = -1; }), kBad);
  EXPECT_EQ(code([](DeviceOptions& o) { o.heap_limits[3] = -1; }), kBad);
  EXPECT_EQ(code([](DeviceOptions& o) { o.kind_limits[0] = -1; }), kBad);
  EXPECT_EQ(code([](DeviceOptions& o) { o.driver_poll = std::chrono::milliseconds(99); }), kBad);
  EXPECT_EQ(code([&](DeviceOptions& o) { o.parent = &flow; }), kBad);
  EXPECT_EQ(DeviceBudgetManager::Open(nullptr, Quiet()).error().code, kBad);
}

}  // namespace
}  // namespace mete
