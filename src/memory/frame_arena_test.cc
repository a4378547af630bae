#include "mete/frame_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory/failing_memory.h"
#include "memory/shadow.h"

namespace mete {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::size_t kKiB = 1024;
constexpr std::size_t kChunk = FrameArena::kChunk;

FrameOptions Small(int in_flight = 1, std::size_t ready = 256 * kKiB,
                   std::size_t reserve = 8 * kMiB) {
  return {.ready = ready, .reserve = reserve, .frames_in_flight = in_flight};
}

// Fixed: only what is ready, then the heap.
FrameOptions Fixed(std::size_t ready) {
  return {.ready = ready, .reserve = ready, .frames_in_flight = 1, .automatic_sizing = false};
}

struct Fixture {
  FailingMemory memory;
  SharedBudget root{BudgetKind::kLevel, kNoLimit};
  SharedBudget frames{BudgetKind::kLevel, kNoLimit, &root};
  SharedBudget heap{BudgetKind::kLevel, kNoLimit, &root};
  std::unique_ptr<FrameArena> arena;

  explicit Fixture(FrameOptions options = Small(), std::int64_t frames_limit = kNoLimit,
                   std::int64_t heap_limit = kNoLimit) {
    frames.SetLimit(frames_limit);
    heap.SetLimit(heap_limit);
    auto opened = FrameArena::Open(options, frames, heap, memory);
    if (!opened) ADD_FAILURE() << opened.error().ToString();
    arena = std::move(*opened);
  }
  ~Fixture() {
    arena.reset();
    EXPECT_EQ(root.charged(), 0);
    EXPECT_TRUE(memory.IsClean());
  }
};

std::uintptr_t Address(const void* data) { return reinterpret_cast<std::uintptr_t>(data); }

struct Tally {
  static inline int alive = 0;
  static inline std::vector<int> ended;
  int id = 0;
  Tally() { ++alive; }
  ~Tally() { --alive, ended.push_back(id); }
};

// --- what the first implementation of this plan got wrong, one test each ---

TEST(FrameArenaTest, AlignsTheAddressNotTheOffset) {
  Fixture f;
  for (std::size_t alignment = 1; alignment <= kMaxAlignment; alignment *= 2) {
    for (const std::size_t size : {1, 3, 16, 100}) {
      void* data = f.arena->Allocate(size, alignment);
      ASSERT_NE(data, nullptr);
      EXPECT_EQ(Address(data) % alignment, 0u) << alignment;
      std::memset(data, 1, size);
    }
  }
}

TEST(FrameArenaTest, HeapFallbackKeepsTheAlignment) {
  Fixture f(Fixed(0));
  for (std::size_t alignment = 1; alignment <= 65536; alignment *= 2) {
    auto data = f.arena->Request(100, alignment);
    ASSERT_TRUE(data);
    EXPECT_EQ(data->backing(), Backing::kHeap);
    EXPECT_EQ(Address(data->data()) % alignment, 0u) << alignment;
    std::memset(data->data(), 1, 100);
  }
}

TEST(FrameArenaTest, RefusesAlignmentsThatAreNone) {
  Fixture f;
  ASSERT_NE(f.arena->Allocate(8), nullptr);
  const FrameStatistics before = f.arena->statistics();
  for (const std::size_t alignment :
       {std::size_t{0}, std::size_t{3}, std::size_t{48}, kMaxAlignment + 1, kMaxAlignment * 2}) {
    EXPECT_EQ(f.arena->Allocate(64, alignment), nullptr);
    auto refused = f.arena->Request(64, alignment);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, AllocationRefusal::Reason::kAlignment);
    EXPECT_EQ(refused.error().ToError().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(f.arena->statistics().requests, before.requests);
  EXPECT_EQ(f.arena->statistics().high_water, before.high_water);
}

TEST(FrameArenaTest, SizesThatWrapAreRefusedAndChangeNothing) {
  Fixture f;
  auto* first = static_cast<std::byte*>(f.arena->Allocate(16));
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t size : {kMost, kMost - 15, kMost - 16, kMost - 65536, kMost / 2,
                                 kMost - Address(first), kMaxAllocation + 1}) {
    EXPECT_EQ(f.arena->Allocate(size), nullptr) << size;
    EXPECT_EQ(f.arena->Allocate(size, 4096), nullptr) << size;
    auto refused = f.arena->Request(size, 16);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, AllocationRefusal::Reason::kSize);
  }
  auto* second = static_cast<std::byte*>(f.arena->Allocate(16));
  EXPECT_EQ(second, first + 16);  // the offset did not move, back or forth
}

TEST(FrameArenaTest, CountsThatOverflowAreRefused) {
  Fixture f;
  for (const std::size_t count : {(std::size_t{1} << 61) + 1, std::size_t{1} << 61,
                                  std::numeric_limits<std::size_t>::max()}) {
    auto refused = f.arena->RequestStackResource<std::uint64_t>(count);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, AllocationRefusal::Reason::kSize);
    EXPECT_FALSE(f.arena->RequestStackResource<std::string>(count));
  }
  EXPECT_EQ(f.arena->statistics().requests, 0u);
}

TEST(FrameArenaTest, BlocksOfTheHeapGoBackWithTheirFrame) {
  Fixture f(Fixed(0), kNoLimit, kMiB);
  for (int frame = 0; frame < 3000; ++frame) {  // the first implementation stopped at 1024
    ASSERT_NE(f.arena->Allocate(kKiB), nullptr) << frame;
    EXPECT_EQ(f.memory.blocks(), 1);
    f.arena->BeginFrame();
    EXPECT_EQ(f.heap.charged(), 0);
  }
}

TEST(FrameArenaTest, AllFallingBackIsARatioOfOne) {
  Fixture f(Fixed(0));
  for (int i = 0; i < 10; ++i) ASSERT_NE(f.arena->Allocate(64), nullptr);
  EXPECT_EQ(f.arena->statistics().fallback_ratio, 1.0);
  f.arena->BeginFrame();
  EXPECT_EQ(f.arena->fallback_ratio(), 1.0);
}

TEST(FrameArenaTest, ElementsAreConstructedAndDestroyed) {
  Tally::alive = 0;
  Fixture f;
  {
    auto five = f.arena->RequestStackResource<Tally>(5);
    ASSERT_TRUE(five);
    EXPECT_EQ(Tally::alive, 5);
    EXPECT_EQ(five->size(), 5u);
  }
  EXPECT_EQ(Tally::alive, 0);
  auto kept = f.arena->RequestStackResource<Tally>(3);
  f.arena->BeginFrame();
  EXPECT_EQ(Tally::alive, 0) << "the frame destroys what its handles have not";
  EXPECT_FALSE(kept->valid());
  kept->Release();
  EXPECT_EQ(Tally::alive, 0) << "once";
  auto numbers = f.arena->RequestStackResource<int>(100);
  EXPECT_TRUE(std::all_of(numbers->begin(), numbers->end(), [](int n) { return n == 0; }));
  auto none = f.arena->RequestStackResource<Tally>(0);
  EXPECT_TRUE(none && none->valid());
}

TEST(FrameArenaTest, OpeningTouchesOnlyWhatIsReady) {
  Fixture f(Small(2, 512 * kKiB, 256 * kMiB));
  EXPECT_EQ(f.memory.committed(), kMiB);
  EXPECT_EQ(f.frames.used(), kMiB);
}

TEST(FrameArenaTest, HandlesAreCheckedInEveryBuild) {
  Fixture f(Small(2));
  auto first = *f.arena->Request(64, 16);
  auto values = *f.arena->RequestStackResource<int>(4);
  f.arena->BeginFrame();
  EXPECT_TRUE(first.valid()) << "two frames in flight";
  EXPECT_NE(first.data(), nullptr);
  f.arena->BeginFrame();
  EXPECT_FALSE(first.valid());
  EXPECT_FALSE(values.valid());
  EXPECT_DEATH(static_cast<void>(first.data()), "frame has not retired");
  EXPECT_DEATH(static_cast<void>(values[0]), "frame has not retired");
}

TEST(FrameArenaTest, StaleHandlesOfTheHeapFreeNothingTwice) {
  Fixture f(Fixed(0));
  auto stale = *f.arena->Request(64, 16);
  f.arena->BeginFrame();
  auto fresh = *f.arena->Request(64, 16);
  stale.Release();
  EXPECT_EQ(f.memory.blocks(), 1);
  Allocation moved = std::move(fresh);
  EXPECT_FALSE(fresh.valid());  // NOLINT(bugprone-use-after-move): what it promises
  moved.Release();
  moved.Release();
  EXPECT_EQ(f.memory.blocks(), 0);
  EXPECT_EQ(f.heap.charged(), 0);
}

// --- the rest ---

TEST(FrameArenaTest, SizesAtTheEdges) {
  Fixture f;
  std::vector<std::pair<std::uintptr_t, std::size_t>> given;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{16},
                                 std::size_t{17}, kChunk / 2, kChunk / 2 + 1, kChunk - 1, kChunk,
                                 kChunk + 1, 3 * kChunk, std::size_t{0}, std::size_t{0}}) {
    auto data = f.arena->Request(size, 16);
    ASSERT_TRUE(data) << size;
    EXPECT_EQ(data->size(), size);
    if (size > 0) std::memset(data->data(), 7, size);
    given.emplace_back(Address(data->data()), std::max<std::size_t>(size, 1));
  }
  std::sort(given.begin(), given.end());
  for (std::size_t i = 1; i < given.size(); ++i) {
    EXPECT_LE(given[i - 1].first + given[i - 1].second, given[i].first);
  }
}

TEST(FrameArenaTest, GrowsByStepsThenByNeedThenFallsBack) {
  Fixture f(Small(1, 512 * kKiB, 8 * kMiB), kMiB + 64 * 1024, kMiB);
  ASSERT_NE(f.arena->Allocate(8 * kChunk), nullptr);
  EXPECT_EQ(f.frames.used(), 512 * 1024);
  ASSERT_NE(f.arena->Allocate(kChunk), nullptr);
  EXPECT_EQ(f.frames.used(), 640 * 1024) << "a quarter more";
  ASSERT_NE(f.arena->Allocate(8 * kChunk), nullptr);  // only by need: the limit is near
  EXPECT_EQ(f.frames.used(), kMiB + 64 * 1024);
  auto block = f.arena->Request(kChunk, 16);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->backing(), Backing::kHeap);
  const std::int64_t charged = f.root.charged();
  auto refused = f.arena->Request(kMiB, 16);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, AllocationRefusal::Reason::kBudget);
  EXPECT_EQ(refused.error().budget.budget, &f.heap);
  EXPECT_EQ(refused.error().ToError().code, ErrorCode::kLimitExceeded);
  EXPECT_EQ(f.root.charged(), charged);
  block->Release();
  EXPECT_EQ(f.heap.charged(), 0);
}

TEST(FrameArenaTest, AnEmptyBudgetRefusesEverything) {
  Fixture f(Fixed(0), 0, 0);
  EXPECT_EQ(f.arena->Allocate(1), nullptr);
  EXPECT_EQ(f.arena->Allocate(0), nullptr);
  EXPECT_FALSE(f.arena->RequestStackResource<int>(1));
}

TEST(FrameArenaTest, KeepsTheMemoryOfFramesInFlight) {
  for (int in_flight = 1; in_flight <= 4; ++in_flight) {
    Fixture f(Small(in_flight));
    std::vector<std::pair<Allocation, int>> given;
    for (int frame = 0; frame < 20; ++frame) {
      for (std::size_t i = 0; i < given.size(); ++i) {
        const int age = frame - given[i].second;
        EXPECT_EQ(given[i].first.valid(), age < in_flight);
        if (age < in_flight) {
          EXPECT_EQ(*static_cast<int*>(given[i].first.data()), given[i].second);
        }
      }
      auto data = f.arena->Request(sizeof(int), alignof(int));
      *static_cast<int*>(data->data()) = frame;
      given.emplace_back(std::move(*data), frame);
      EXPECT_TRUE(f.arena->IsAlive(f.arena->frame()));
      f.arena->BeginFrame();
    }
  }
}

TEST(FrameArenaTest, ObjectsGoNewestFirst) {
  Tally::ended.clear();
  Fixture f;
  std::vector<StackResource<Tally>> kept;
  for (int i = 1; i <= 4; ++i) {
    kept.push_back(*f.arena->RequestStackResource<Tally>());
    kept.back()->id = i;
  }
  kept[1].Release();
  f.arena->BeginFrame();
  EXPECT_EQ(Tally::ended, (std::vector<int>{2, 4, 3, 1}));
}

struct Throws {
  static inline int alive = 0;
  Throws() {
    if (alive == 3) throw 1;
    ++alive;
  }
  ~Throws() { --alive; }
};

TEST(FrameArenaTest, AThrowingConstructorLeavesNoObject) {
  Fixture f(Fixed(0));
  EXPECT_THROW(static_cast<void>(f.arena->RequestStackResource<Throws>(5)), int);
  EXPECT_EQ(Throws::alive, 0);
  EXPECT_EQ(f.heap.charged(), 0);
  f.arena->BeginFrame();
  EXPECT_EQ(Throws::alive, 0);
}

TEST(FrameArenaTest, MarksGiveBackWhatCameAfter) {
  Tally::alive = 0;
  Fixture f(Small(1, 256 * kKiB), 256 * 1024);
  auto outer = *f.arena->RequestStackResource<Tally>();
  void* const before = f.arena->Allocate(16);
  StackResource<Tally> inner;
  for (int round = 0; round < 100; ++round) {  // more than fits without giving back
    FrameMark mark(*f.arena);
    inner = *f.arena->RequestStackResource<Tally>(10);
    EXPECT_EQ(Tally::alive, 11);
    ASSERT_NE(f.arena->Allocate(kChunk + 1), nullptr);
    {
      FrameMark nested(*f.arena);
      for (int i = 0; i < 40; ++i) ASSERT_NE(f.arena->Allocate(4000), nullptr);
    }
    EXPECT_TRUE(inner.valid());
  }
  EXPECT_FALSE(inner.valid()) << "a mark makes handles stale like a frame";
  EXPECT_EQ(Tally::alive, 1);
  EXPECT_TRUE(outer.valid());
  EXPECT_EQ(f.arena->Allocate(16), static_cast<std::byte*>(before) + 16);
  EXPECT_EQ(f.heap.charged(), 0);
}

TEST(FrameArenaTest, MarksBeforeAnythingAndTooDeep) {
  Fixture f;
  {
    FrameMark first(*f.arena);
    ASSERT_NE(f.arena->Allocate(100), nullptr);
  }
  std::vector<std::unique_ptr<FrameMark>> marks;
  for (int depth = 0; depth < 40; ++depth) {
    marks.push_back(std::make_unique<FrameMark>(*f.arena));
    ASSERT_NE(f.arena->Allocate(100), nullptr);
  }
  auto deep = *f.arena->Request(8, 8);
  for (int depth = 39; depth >= 32; --depth) marks.pop_back();
  EXPECT_TRUE(deep.valid());
  while (!marks.empty()) marks.pop_back();
  EXPECT_FALSE(deep.valid());
  FrameMark mark(*f.arena);
  auto data = *f.arena->Request(8, 8);
  f.arena->BeginFrame();
  EXPECT_FALSE(data.valid());
  auto next = *f.arena->Request(8, 8);
  EXPECT_TRUE(next.valid()) << "the mark belongs to the frame before";
}

TEST(FrameArenaTest, AMarkThatOutlivesItsFrameDoesNotReopenIt) {
  Fixture f(Small(2));
  auto mark = std::make_unique<FrameMark>(*f.arena);
  ASSERT_NE(f.arena->Allocate(16), nullptr);
  f.arena->BeginFrame();
  mark.reset();
  auto data = *f.arena->Request(16, 16);
  f.arena->BeginFrame();
  EXPECT_TRUE(data.valid()) << "it belongs to the second frame, not the first";
}

TEST(FrameArenaTest, StandardContainersLiveInIt) {
  Fixture f;
  FrameResource resource(*f.arena);
  for (int frame = 0; frame < 10; ++frame) {
    {
      std::pmr::vector<std::pmr::string> names(&resource);
      for (int i = 0; i < 1000; ++i) names.emplace_back("a text that is too long for the object");
      EXPECT_EQ(names.back().get_allocator().resource(), &resource);
    }
    f.arena->BeginFrame();
  }
  EXPECT_TRUE(resource == FrameResource(*f.arena));
  f.frames.SetLimit(0);
  f.heap.SetLimit(0);
  std::pmr::vector<char> large(&resource);
  EXPECT_THROW(large.resize(64 * kMiB), std::bad_alloc);
}

TEST(FrameArenaTest, MoreThreadsThanPlacesAreServedByTheHeap) {
  FrameOptions options = Small();
  options.max_threads = 0;
  Fixture f(options);
  EXPECT_EQ(f.arena->Thread(), nullptr);
  FrameMark inert(*f.arena);
  auto data = f.arena->Request(64, 64);
  ASSERT_TRUE(data);
  EXPECT_EQ(data->backing(), Backing::kHeap);
  auto object = f.arena->RequestStackResource<std::string>(3);
  (*object)[2] = "a text that is too long for the object";
  f.arena->BeginFrame();
  EXPECT_EQ(f.heap.charged(), 0);
}

TEST(FrameArenaTest, SlotsOfEndedThreadsServeNewOnes) {
  FrameOptions options = Small();
  options.max_threads = 2;
  Fixture f(options);
  ASSERT_NE(f.arena->Thread(), nullptr);
  Allocation kept;
  for (int i = 0; i < 50; ++i) {
    std::thread([&] {
      auto data = f.arena->Request(64, 16);
      ASSERT_EQ(data->backing(), Backing::kFrame);
      if (i == 0) {
        std::memset(data->data(), 42, 64);
        kept = std::move(*data);
      } else {
        std::memset(data->data(), 1, 64);
      }
    }).join();
  }
  EXPECT_EQ(*static_cast<char*>(kept.data()), 42) << "memory outlives its thread";
}

TEST(FrameArenaTest, ThreadsGoToAndFroBetweenArenas) {
  Fixture a, b;
  for (int i = 0; i < 100; ++i) {
    ASSERT_NE(a.arena->Allocate(64), nullptr);
    ASSERT_NE(b.arena->Allocate(64), nullptr);
  }
  EXPECT_EQ(a.arena->statistics().requests, 100u);
  EXPECT_EQ(b.arena->statistics().high_water, 6400u);
}

TEST(FrameArenaTest, TrapsRetiredMemory) {
  FrameOptions options = Small(1);
  options.trap_retired = true;
  Fixture f(options);
  auto* data = static_cast<volatile char*>(f.arena->Allocate(64));
  *data = 1;
  f.arena->BeginFrame();
  ASSERT_NE(f.arena->Allocate(64), nullptr);
  EXPECT_DEATH(static_cast<void>(*data), "");
  f.arena->BeginFrame();
  ASSERT_NE(f.arena->Allocate(64), nullptr);
}

TEST(FrameArenaTest, PoisonsRetiredMemoryInDebug) {
  Fixture f(Small(1));
  auto* data = static_cast<volatile unsigned char*>(f.arena->Allocate(64));
  *data = 1;
  f.arena->BeginFrame();
#if defined(METE_ASAN)
  EXPECT_DEATH(static_cast<void>(*data), "use-after-poison");
#else
  EXPECT_EQ(*data, shadow::kFill ? 0xdd : 1);
#endif
}

TEST(FrameArenaTest, StatisticsAddUp) {
  Fixture f(Small(2, 256 * kKiB));
  for (int i = 0; i < 100; ++i) ASSERT_NE(f.arena->Allocate(1000), nullptr);
  FrameStatistics now = f.arena->statistics();
  EXPECT_EQ(now.requests, 100u);
  EXPECT_EQ(now.high_water, 100u * 1008);
  EXPECT_EQ(now.committed, 256 * kKiB);
  EXPECT_EQ(now.committed_all, 512 * kKiB);
  EXPECT_EQ(now.late, 0u);
  f.arena->BeginFrame();
  now = f.arena->statistics();
  EXPECT_EQ(now.frame, 2u);
  EXPECT_EQ(now.requests, 100u);
  EXPECT_EQ(now.peak, 100u * 1008);
  ASSERT_NE(f.arena->Allocate(300 * kKiB), nullptr);
  EXPECT_EQ(f.arena->statistics().late, 1u) << "it had to commit";
  for (int i = 0; i < 130; ++i) f.arena->BeginFrame();
  now = f.arena->statistics();
  EXPECT_EQ(now.requests, 0u);
  EXPECT_EQ(now.total_requests, 101u);
}

TEST(FrameArenaTest, SizeFollowsTheLoad) {
  Fixture f(Small(2, 64 * kKiB, 16 * kMiB));
  const auto frame = [&](std::size_t bytes) {
    for (std::size_t done = 0; done < bytes; done += 1024) {
      ASSERT_NE(f.arena->Allocate(1024), nullptr);
    }
    f.arena->BeginFrame();
  };
  for (int i = 0; i < 120; ++i) frame(kMiB);
  const FrameStatistics steady = f.arena->statistics();
  for (int i = 0; i < 130; ++i) frame(kMiB);
  EXPECT_EQ(f.arena->statistics().late, 0u);
  EXPECT_EQ(steady.committed, static_cast<std::size_t>(kMiB));
  EXPECT_GE(steady.utilisation, 0.5);
  EXPECT_GE(f.arena->statistics().utilisation, 0.9);
  frame(4 * kMiB);  // the spike: late
  const std::uint64_t late = f.arena->statistics().late;
  EXPECT_GT(late, 0u);
  frame(4 * kMiB);
  frame(4 * kMiB);
  EXPECT_EQ(f.arena->statistics().late, late) << "the next frame was ready for it";
  for (int i = 0; i < 400; ++i) frame(kMiB);
  EXPECT_EQ(f.arena->statistics().committed_all, 2u * kMiB);
  EXPECT_EQ(f.frames.used(), 2 * kMiB);
}

TEST(FrameArenaTest, OptionsThatMakeNoSense) {
  SharedBudget budget(BudgetKind::kLevel, kMiB);
  FrameOptions options;
  options.frames_in_flight = 0;
  EXPECT_EQ(FrameArena::Open(options, budget, budget).error().code, ErrorCode::kInvalidArgument);
  options.frames_in_flight = 5;
  EXPECT_FALSE(FrameArena::Open(options, budget, budget));
  options = {.max_threads = -1};
  EXPECT_FALSE(FrameArena::Open(options, budget, budget));
  options = {.reserve = kMaxAllocation + 1};
  EXPECT_FALSE(FrameArena::Open(options, budget, budget));
  options = {.ready = 768 * kKiB, .frames_in_flight = 2};
  EXPECT_EQ(FrameArena::Open(options, budget, budget).error().code, ErrorCode::kLimitExceeded);
  EXPECT_EQ(budget.charged(), 0);
}

// Threads that allocate while frames change: nobody gets what another one has. They look at the
// memory only under a lock that BeginFrame is called under, as programs must see to.
TEST(FrameArenaTest, AllocatingWhileFramesChange) {
  struct Given {
    std::uint64_t frame;
    std::uintptr_t begin, end;
    auto operator<=>(const Given&) const = default;
  };
  Fixture f(Small(3, kMiB, 64 * kMiB));
  std::atomic<bool> stop{false};
  std::shared_mutex in_use;
  std::vector<std::vector<Given>> given(3);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::uint32_t random = 1u + static_cast<std::uint32_t>(t);
      std::uint64_t last = 0;
      for (int count = 0; !stop.load(); ++count) {
        const std::uint64_t frame = f.arena->frame();
        if (std::exchange(last, frame) != frame) count = 0;
        if (count >= 100) {
          std::this_thread::yield();
          continue;
        }
        random = random * 1664525 + 1013904223;
        const std::size_t size = 16 + random % 3000;
        void* const data = f.arena->Allocate(size);
        ASSERT_NE(data, nullptr);
        if (f.arena->frame() == frame) {
          given[t].push_back({frame, Address(data), Address(data) + size});
        }
        if (count % 4 == 0) {
          const std::shared_lock lock(in_use);
          auto object = f.arena->RequestStackResource<std::string>();
          ASSERT_TRUE(object);
          **object = "a text that is too long for the object";
        }
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    {
      const std::unique_lock lock(in_use);
      f.arena->BeginFrame();
    }
    static_cast<void>(f.arena->statistics());
    std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  std::vector<Given> all;
  for (const auto& own : given) all.insert(all.end(), own.begin(), own.end());
  std::sort(all.begin(), all.end());
  for (std::size_t i = 1; i < all.size(); ++i) {
    if (all[i - 1].frame != all[i].frame) continue;
    ASSERT_LE(all[i - 1].end, all[i].begin);
  }
}

// A thread that enters a frame at the moment it ends is sent the long way afterwards: what it gets
// once the next frame has begun is of that one. Threads are seldom there at that moment, so that
// this takes many frames.
TEST(FrameArenaTest, AThreadThatEntersAsTheFrameEndsGoesOnInTheNext) {
  Fixture f(Small(3, 256 * kKiB));
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> begun{1};  // by a call that has returned
  std::thread thread([&] {
    const auto until = [&](std::uint64_t frame) {
      while (f.arena->frame() < frame) std::this_thread::yield();
    };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    for (std::uint32_t round = 0;
         round < 4000 && std::chrono::steady_clock::now() < end && !testing::Test::HasFailure();
         ++round) {
      until(f.arena->frame() + 4);  // its slot is empty again
      for (std::uint32_t wait = 0; wait < round % 61; ++wait) {
        static_cast<void>(f.arena->frame());
      }
      static_cast<void>(f.arena->Allocate(16));
      const std::uint64_t frame = begun.load();
      auto data = f.arena->Request(16, 16);
      ASSERT_TRUE(data);
      for (bool valid = true; f.arena->frame() <= frame + 1; valid = data->valid()) {
        ASSERT_TRUE(valid) << "of the frame before, which retires";
      }
    }
    done.store(true);
  });
  while (!done.load() && !testing::Test::HasFailure()) {
    f.arena->BeginFrame();
    begun.store(f.arena->frame());
  }
  thread.join();
}

struct BeginsAFrame {
  FrameArena* arena = nullptr;
  ~BeginsAFrame() {
    if (arena != nullptr) arena->BeginFrame();
  }
};

TEST(FrameArenaTest, BeginFrameFromADestructorOfAFrameEndsTheProcess) {
  Fixture f;
  EXPECT_DEATH(
      {
        auto kept = *f.arena->RequestStackResource<BeginsAFrame>();
        kept->arena = f.arena.get();
        f.arena->BeginFrame();
      },
      "BeginFrame is not called by a destructor");
}

}  // namespace
}  // namespace mete
