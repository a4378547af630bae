// Counts what reaches malloc and operator new: the hook that programs may link, and the promise
// that mete's own loop calls neither.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <memory_resource>
#include <string>
#include <thread>
#include <vector>

#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace {
constinit thread_local std::int64_t t_mallocs = 0;
}

// Sanitizers and valgrind have a malloc of their own; there only operator new is counted.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define METE_COUNTS_MALLOC 1
extern "C" {
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_realloc(void* block, std::size_t size);             // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT

void* malloc(std::size_t size) noexcept { return ++t_mallocs, __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) noexcept {
  return ++t_mallocs, __libc_calloc(count, size);
}
void* realloc(void* block, std::size_t size) noexcept {
  return ++t_mallocs, __libc_realloc(block, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return ++t_mallocs, __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return ++t_mallocs, __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  *block = (++t_mallocs, __libc_memalign(alignment, size));
  return *block != nullptr ? 0 : ENOMEM;
}
}
#endif

namespace mete {
namespace {

TEST(NewHookTest, CountsEveryFormOfNew) {
  struct alignas(128) Wide {
    char bytes[128];
  };
  const UntrackedMemory before = CountUntracked();
  auto one = std::make_unique<int>(1);
  auto many = std::make_unique<std::string[]>(10);
  auto wide = std::make_unique<Wide>();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide.get()) % 128, 0u);
  int* maybe = new (std::nothrow) int(2);
  const UntrackedMemory during = CountUntracked();
  EXPECT_TRUE(during.counted);
  EXPECT_EQ(during.live - before.live, 4);
  EXPECT_GE(during.live_bytes - before.live_bytes, 128 + 320 + 8);
  delete maybe;
  one.reset();
  many.reset();
  wide.reset();
  EXPECT_EQ(CountUntracked().live, before.live);
  EXPECT_EQ(CountUntracked().live_bytes, before.live_bytes);
  EXPECT_EQ(CountUntracked().allocations, before.allocations + 4);
}

TEST(NewHookTest, MetesMemoryIsNotUntracked) {
  HostOptions options;
  options.frames = {.ready = 64 << 10, .reserve = 1 << 20, .frames_in_flight = 1};
  auto host = *HostBudgetManager::Open(options);
  static_cast<void>(host->RequestStackResource<int>());
  const UntrackedMemory before = CountUntracked();
  {
    std::vector<int> untracked(10);
    OwnerResource resource(**host->Owner("tests"));  // its name is on the heap
    const UntrackedMemory named = CountUntracked();
    std::pmr::vector<int> tracked(1000, &resource);
    auto numbers = host->RequestStackResource<double>(100000);
    auto kept = TrackedAllocation<int>::Make(*host, AllocationScope::kHeap, 1);
    EXPECT_EQ(CountUntracked().allocations, named.allocations);
    EXPECT_GT(named.allocations, before.allocations);
  }
  EXPECT_NE(host->snapshot().Text().find("untracked: "), std::string::npos);
  EXPECT_NE(host->snapshot().Json().find("\"untracked\":{\"allocations\":"), std::string::npos);
}

// One frame of a program: arrays, objects, containers, marks, persistent and deferred objects.
void Frame(HostBudgetManager& host, int frame) {
  FrameArena& arena = host.frames();
  for (int i = 0; i < 300; ++i) {
    if (arena.Allocate(16 + static_cast<std::size_t>(i * 37 + frame) % 240) == nullptr)
      std::abort();
  }
  auto numbers = host.RequestStackResource<float>(5000);
  auto large = host.RequestStackResource<char>(100000 + static_cast<std::size_t>(frame % 7) * 5000);
  FrameResource resource(arena);
  auto names = host.RequestStackResource<std::pmr::string>();
  {
    FrameMark mark(arena);
    std::pmr::vector<std::pmr::string> list(&resource);
    for (int i = 0; i < 20; ++i) list.emplace_back("a text that is too long for the object");
  }
  auto kept = TrackedAllocation<int>::Make(host, AllocationScope::kPersistent, frame);
  static_cast<void>(host.Defer(std::move(*kept)));
  host.BeginFrame();
}

TEST(NewHookTest, NoHeapInTenThousandFrames) {
  HostOptions options;
  options.frames = {.ready = 256 << 10, .reserve = 16 << 20, .frames_in_flight = 2};
  auto host = *HostBudgetManager::Open(options);
  WarningSubscription subscription = host->Subscribe([](const BudgetWarning&) {});
  constexpr int kWarmUp = 120;
#ifdef METE_COUNTS_MALLOC
  constexpr int kFrames = 10000;
#else
  constexpr int kFrames = 500;
#endif
  std::atomic<std::int64_t> on_worker{-1};
  std::atomic<int> frame{0};
  std::thread worker([&] {  // allocates in the same frames
    std::int64_t before = -1;
    for (int seen = -1, now = 0; now < kWarmUp + kFrames; now = frame.load()) {
      if (std::exchange(seen, now) == now) {
        std::this_thread::yield();
        continue;
      }
      if (before < 0 && now >= kWarmUp) before = t_mallocs;
      for (int i = 0; i < 20; ++i) {
        if (host->frames().Allocate(200) == nullptr) std::abort();
      }
    }
    on_worker = t_mallocs - before;
  });
  std::int64_t mallocs = 0, news = 0;
  for (; frame < kWarmUp + kFrames; ++frame) {
    if (frame == kWarmUp) {
      mallocs = t_mallocs;
      news = CountUntracked().allocations;
    }
    Frame(*host, frame);
  }
  mallocs = t_mallocs - mallocs;
  news = CountUntracked().allocations - news;
  worker.join();
  EXPECT_EQ(news, 0);
  EXPECT_EQ(mallocs, 0);
  EXPECT_EQ(on_worker, 0);
  EXPECT_EQ(host->frames().statistics().total_fallbacks, 0u);
#ifdef METE_COUNTS_MALLOC
  const std::int64_t counted = t_mallocs;
  std::free(std::malloc(10));
  EXPECT_GE(t_mallocs, counted) << "the compiler may leave the pair out";
#endif
}

}  // namespace
}  // namespace mete
