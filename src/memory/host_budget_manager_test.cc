#include "mete/host_budget_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory/failing_memory.h"
#include "mete/tracked_allocation.h"

namespace mete {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr AllocationScope kFrame = AllocationScope::kFrame;
constexpr AllocationScope kPersistent = AllocationScope::kPersistent;
constexpr AllocationScope kHeap = AllocationScope::kHeap;

struct Fixture {
  FailingMemory memory;
  std::vector<MemoryLeak> leaked;
  std::unique_ptr<HostBudgetManager> host;

  explicit Fixture(HostOptions options = Small()) {
    options.memory = &memory;
    options.leaked = [this](const std::vector<MemoryLeak>& leaks) { leaked = leaks; };
    auto opened = HostBudgetManager::Open(options);
    if (!opened) ADD_FAILURE() << opened.error().ToString();
    host = std::move(*opened);
  }
  ~Fixture() {
    host.reset();
    EXPECT_TRUE(memory.IsClean() || !leaked.empty());
  }
  static HostOptions Small() {
    HostOptions options;
    options.frames = {.ready = 64 << 10, .reserve = 4 << 20, .frames_in_flight = 2};
    options.persistent_ready = 64 << 10;
    options.persistent_reserve = 4 << 20;
    return options;
  }
  // Nothing ready, so that limits meet allocations only.
  static HostOptions Bare(std::int64_t limit) {
    HostOptions options;
    options.limit = limit;
    options.frames = {.ready = 0, .reserve = 0, .frames_in_flight = 1};
    options.persistent_ready = 0;
    options.persistent_reserve = 0;
    return options;
  }
};

struct Counted {
  static inline int alive = 0;
  int value = 0;
  explicit Counted(int given) : value(given) { ++alive; }
  Counted(Counted&& other) noexcept : value(other.value) { ++alive; }
  ~Counted() { --alive; }
};

TEST(HostBudgetManagerTest, EveryScopeFreesItself) {
  Fixture f;
  const std::int64_t before = f.host->budget().used();
  for (const AllocationScope scope : {kFrame, kPersistent, kHeap}) {
    for (const std::size_t size : {0, 1, 100, 20000, 300000}) {
      auto memory = f.host->RequestAllocation(size, 64, scope);
      ASSERT_TRUE(memory);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory->data()) % 64, 0u);
      std::memset(memory->data(), 1, size);
    }
  }
  EXPECT_EQ(f.host->heap_budget().used(), 0);
  EXPECT_TRUE(f.host->leaks().empty());
  EXPECT_GE(f.host->budget().used(), before);
  EXPECT_EQ(f.host->frames().statistics().fallbacks, 0u) << "not a frame's";
}

TEST(HostBudgetManagerTest, RefusalsAreTypedAndChangeNothing) {
  Fixture f(Fixture::Bare(kMiB));
  struct Row {
    std::size_t size, alignment;
    AllocationRefusal::Reason reason;
    ErrorCode code;
  };
  using Reason = AllocationRefusal::Reason;
  const Row rows[] = {
      {8, 0, Reason::kAlignment, ErrorCode::kInvalidArgument},
      {8, 24, Reason::kAlignment, ErrorCode::kInvalidArgument},
      {8, kMaxAlignment * 2, Reason::kAlignment, ErrorCode::kInvalidArgument},
      {kMaxAllocation + 1, 8, Reason::kSize, ErrorCode::kInvalidArgument},
      {~std::size_t{0}, 8, Reason::kSize, ErrorCode::kInvalidArgument},
      {kMiB + 1, 8, Reason::kBudget, ErrorCode::kLimitExceeded},
  };
  for (const AllocationScope scope : {kFrame, kPersistent, kHeap}) {
    for (const Row& row : rows) {
      auto refused = f.host->RequestAllocation(row.size, row.alignment, scope);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().reason, row.reason);
      EXPECT_EQ(refused.error().ToError().code, row.code);
      EXPECT_FALSE(refused.error().ToError().message.empty());
    }
  }
  EXPECT_EQ(f.host->budget().charged(), 0);
  f.memory.FailAll(true);
  auto refused = f.host->RequestAllocation(8, 8, kHeap);
  EXPECT_EQ(refused.error().reason, Reason::kSystem);
  EXPECT_EQ(refused.error().ToError().code, ErrorCode::kSystem);
  EXPECT_EQ(f.host->budget().charged(), 0);
}

TEST(HostBudgetManagerTest, ZeroIsALimit) {
  Fixture f(Fixture::Bare(0));
  for (const AllocationScope scope : {kFrame, kPersistent, kHeap}) {
    EXPECT_FALSE(f.host->RequestAllocation(1, 1, scope));
    EXPECT_FALSE(f.host->RequestAllocation(0, 1, scope));
  }
}

TEST(HostBudgetManagerTest, SixteenThreadsHoldExactlyWhatFits) {
  Fixture f(Fixture::Bare(100 * kMiB));
  std::atomic<int> held{0};
  std::vector<std::vector<Allocation>> kept(16);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        auto memory = f.host->RequestAllocation(kMiB, 16, kHeap);
        if (!memory) continue;
        kept[t].push_back(std::move(*memory));
        ++held;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(held.load(), 100);
  EXPECT_EQ(f.host->budget().used(), 100 * kMiB);
  EXPECT_EQ(f.memory.block_bytes(), 100 * kMiB);
}

TEST(HostBudgetManagerTest, OwnersHaveNamesAndLimits) {
  Fixture f;
  HostOwner& textures = **f.host->Owner("textures", 1000);
  EXPECT_EQ(*f.host->Owner("textures"), &textures);
  EXPECT_FALSE(f.host->Owner(""));
  EXPECT_FALSE(f.host->Owner("negative", -1));
  auto first = textures.RequestAllocation(1000, 8, kHeap);
  ASSERT_TRUE(first);
  auto refused = textures.RequestAllocation(1, 8, kHeap);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().budget.budget, &textures.budget());
  auto small = textures.RequestAllocation(100, 8, kPersistent);
  EXPECT_EQ(small->backing(), Backing::kPersistent);
  EXPECT_EQ(textures.live_count(), 2);
  EXPECT_EQ(textures.live_bytes(), 1100);
  OwnerResource resource(**f.host->Owner("containers", 4096));
  std::pmr::vector<int> numbers(100, &resource);
  EXPECT_EQ((*f.host->Owner("containers"))->budget().used(), 400);
  EXPECT_THROW(numbers.resize(10000), std::bad_alloc);
}

TEST(HostBudgetManagerTest, LeaksAreReportedByOwner) {
  Allocation leak, other;
  std::vector<MemoryLeak> reported;
  {
    HostOptions options = Fixture::Small();
    options.leaked = [&](const std::vector<MemoryLeak>& leaks) { reported = leaks; };
    auto host = *HostBudgetManager::Open(options);
    leak = *(*host->Owner("meshes"))->RequestAllocation(64, 8, kPersistent);
    other = *(*host->Owner("audio"))->RequestAllocation(10, 8, kPersistent);
    auto held = *(*host->Owner("audio"))->RequestAllocation(10, 8, kPersistent);
    EXPECT_EQ(host->leaks().size(), 2u);
    // What outlives its manager cannot be given back afterwards: it is kept, for good.
    static auto* const never = new std::vector<Allocation>;
    never->push_back(std::move(leak));
    never->push_back(std::move(other));
  }
  ASSERT_EQ(reported.size(), 2u);
  EXPECT_EQ(reported[0].owner, "audio");
  EXPECT_EQ(reported[0].bytes, 10);
  EXPECT_EQ(reported[1].owner, "meshes");
  EXPECT_EQ(reported[1].count, 1);
}

TEST(HostBudgetManagerTest, PersistentMemorySurvivesFramesAndIsUsedAgain) {
  HostOptions options = Fixture::Small();
  options.persistent_limit = 128 << 10;
  options.heap_limit = 0;
  Fixture f(options);
  auto kept = *f.host->RequestAllocation(100, 16, kPersistent);
  std::memset(kept.data(), 42, 100);
  for (int frame = 0; frame < 10; ++frame) f.host->BeginFrame();
  EXPECT_EQ(static_cast<char*>(kept.data())[99], 42);
  kept.Release();
  for (int round = 0; round < 1000; ++round) {  // 100 times what fits
    auto one = f.host->RequestAllocation(4096, 16, kPersistent);
    auto two = f.host->RequestAllocation(2048, 16, kPersistent);
    ASSERT_TRUE(one && two) << round;
  }
  EXPECT_FALSE(f.host->RequestAllocation(20000, 16, kPersistent)) << "that is the heap's";
}

TEST(HostBudgetManagerTest, PersistentMemoryIsFreedFromAnyThread) {
  Fixture f;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        auto memory =
            f.host->RequestAllocation(1 + static_cast<std::size_t>(i) * 7 % 5000, 16, kPersistent);
        ASSERT_TRUE(memory);
        std::memset(memory->data(), t, memory->size());
        EXPECT_EQ(static_cast<char*>(memory->data())[memory->size() - 1], t);
        if (i % 50 == 0) std::thread([taken = std::move(*memory)]() mutable {}).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(f.host->leaks().empty());
}

TEST(HostBudgetManagerTest, WarningsComeOnceAndRearm) {
  Fixture f(Fixture::Bare(1000));
  std::vector<std::string> seen;
  WarningSubscription subscription = f.host->Subscribe([&](const BudgetWarning& warning) {
    seen.push_back(std::string(warning.budget) + std::to_string(warning.percent));
  });
  auto first = *f.host->RequestAllocation(799, 1, kHeap);
  EXPECT_TRUE(seen.empty());
  auto second = *f.host->RequestAllocation(1, 1, kHeap);
  EXPECT_EQ(seen, std::vector<std::string>{"host80"});
  auto third = *f.host->RequestAllocation(200, 1, kHeap);
  EXPECT_EQ(seen, (std::vector<std::string>{"host80", "host95"}));
  third.Release();
  second.Release();
  first.Release();
  auto again = *f.host->RequestAllocation(800, 1, kHeap);
  EXPECT_EQ(seen.size(), 3u);
  subscription.End();
  auto more = *f.host->RequestAllocation(199, 1, kHeap);
  EXPECT_EQ(seen.size(), 3u);
}

// Calls every function of the library from a callback.
TEST(HostBudgetManagerTest, CallbacksMayCallAnything) {
  Fixture f(Fixture::Bare(100000));
  int calls = 0;
  WarningSubscription mine, other;
  std::vector<Allocation> kept;
  mine = f.host->Subscribe([&](const BudgetWarning&) {
    ++calls;
    auto more = f.host->RequestAllocation(calls == 1 ? 12000 : 100, 16, kHeap);
    if (more) kept.push_back(std::move(*more));  // raises the next edge
    static_cast<void>(f.host->RequestAllocation(1 << 20, 16, kPersistent));
    static_cast<void>(f.host->RequestStackResource<std::string>(2));
    {
      FrameMark mark(f.host->frames());
    }
    auto tracked = TrackedAllocation<int>::Make(*f.host, kHeap, 1);
    static_cast<void>(f.host->Defer(std::move(*tracked)));
    f.host->BeginFrame();
    f.host->DeliverWarnings();
    static_cast<void>(f.host->Owner("from a callback"));
    static_cast<void>(f.host->snapshot().Json());
    static_cast<void>(f.host->leaks());
    f.host->heap_budget().SetLimit(kNoLimit);
    other = f.host->Subscribe([](const BudgetWarning&) {});
    std::thread([&] { EXPECT_TRUE(f.host->RequestAllocation(10, 1, kHeap)); }).join();
    if (calls == 2) mine.End();
  });
  auto memory = *f.host->RequestAllocation(85000, 1, kHeap);
  EXPECT_GE(calls, 2) << "an edge raised by a callback is delivered too";
  const int before = calls;
  memory.Release();
  kept.clear();
  memory = *f.host->RequestAllocation(96000, 1, kHeap);
  EXPECT_EQ(calls, before) << "it has unsubscribed itself";
}

TEST(HostBudgetManagerTest, WarnsOfFallbacksAlsoWhenAllFellBack) {
  Fixture f(Fixture::Bare(kMiB));
  std::vector<int> seen;
  WarningSubscription subscription = f.host->Subscribe([&](const BudgetWarning& warning) {
    if (warning.kind == BudgetWarning::Kind::kFallbackRatio) seen.push_back(warning.percent);
  });
  ASSERT_NE(f.host->frames().Allocate(16), nullptr);
  f.host->BeginFrame();
  EXPECT_EQ(seen, std::vector<int>{100});
  f.host->BeginFrame();
  EXPECT_EQ(seen.size(), 1u) << "an edge, not a level";
}

TEST(HostBudgetManagerTest, DeferredObjectsWaitForTheirFrameInOrder) {
  Fixture f;
  static std::vector<int> ended;
  ended.clear();
  struct Ends {
    int id;
    explicit Ends(int given) : id(given) {}
    Ends(Ends&& other) noexcept : id(std::exchange(other.id, 0)) {}
    ~Ends() {
      if (id != 0) ended.push_back(id);
    }
  };
  ASSERT_TRUE(f.host->Defer(Ends(1)));
  ASSERT_TRUE(f.host->Defer(Ends(2)));
  f.host->BeginFrame();
  ASSERT_TRUE(f.host->Defer(Ends(3)));
  EXPECT_EQ(f.host->snapshot().deferred, 3);
  EXPECT_TRUE(ended.empty());
  f.host->BeginFrame();
  EXPECT_EQ(ended, (std::vector<int>{1, 2}));
  f.host.reset();
  EXPECT_EQ(ended, (std::vector<int>{1, 2, 3}));
  Fixture none(Fixture::Bare(0));
  Ends untouched(4);
  EXPECT_FALSE(none.host->Defer(std::move(untouched)));
  EXPECT_EQ(untouched.id, 4);  // NOLINT(bugprone-use-after-move): refused, so not moved
  untouched.id = 0;
}

TEST(HostBudgetManagerTest, SnapshotsSaySo) {
  HostOptions options = Fixture::Small();
  options.limit = 100 * kMiB;
  Fixture f(options);
  auto memory = *(*f.host->Owner("say \"hi\"\n"))->RequestAllocation(1 << 20, 8, kHeap);
  ASSERT_NE(f.host->frames().Allocate(1000), nullptr);
  const HostSnapshot shot = f.host->snapshot();
  EXPECT_EQ(shot.host.used, shot.frames.used + shot.persistent.used + shot.heap.used);
  EXPECT_EQ(shot.heap.used, kMiB);
  EXPECT_NE(shot.Text().find("host        1.2 MiB of 100 MiB"), std::string::npos) << shot.Text();
  const std::string json = shot.Json();
  EXPECT_NE(json.find("\"name\":\"say \\\"hi\\\"\\u000a\",\"count\":1"), std::string::npos) << json;
  EXPECT_NE(json.find("\"heap\":{\"limit\":null,\"used\":1048576,"), std::string::npos) << json;
  EXPECT_NE(json.find("\"untracked\":null"), std::string::npos);
  EXPECT_EQ(json.find('\n'), std::string::npos);
  EXPECT_EQ(shot.BenchRow().substr(0, 10), "host_used=");
}

TEST(HostBudgetManagerTest, OptionsThatMakeNoSense) {
  const auto code = [](auto change) {
    HostOptions options = Fixture::Small();
    change(options);
    auto opened = HostBudgetManager::Open(options);
    return opened ? ErrorCode::kSystem : opened.error().code;
  };
  constexpr ErrorCode kBad = ErrorCode::kInvalidArgument;
  SharedBudget flow(BudgetKind::kFlow);
  EXPECT_EQ(code([](HostOptions& o) { o.limit = -1; }), kBad);
  EXPECT_EQ(code([](HostOptions& o) { o.heap_limit = -1; }), kBad);
  EXPECT_EQ(code([](HostOptions& o) { o.fallback_warning = 101; }), kBad);
  EXPECT_EQ(code([](HostOptions& o) { o.frames.frames_in_flight = 9; }), kBad);
  EXPECT_EQ(code([](HostOptions& o) { o.persistent_reserve = kMaxAllocation + 1; }), kBad);
  EXPECT_EQ(code([&](HostOptions& o) { o.parent = &flow; }), kBad);
  EXPECT_EQ(code([](HostOptions& o) { o.limit = 1000; }), ErrorCode::kLimitExceeded);
}

TEST(HostBudgetManagerTest, IsPartOfALargerBudget) {
  SharedBudget process(BudgetKind::kLevel, 2 * kMiB);
  HostOptions options = Fixture::Bare(kNoLimit);
  options.parent = &process;
  {
    Fixture f(options);
    auto memory = f.host->RequestAllocation(kMiB, 8, kHeap);
    EXPECT_EQ(process.used(), kMiB);
    auto refused = f.host->RequestAllocation(2 * kMiB, 8, kHeap);
    EXPECT_EQ(refused.error().budget.budget, &process);
  }
  EXPECT_EQ(process.charged(), 0);
}

}  // namespace
}  // namespace mete
