// Every operator new that the library reaches fails once in turn: what returns a Result says E2099,
// what cannot passes std::bad_alloc on, and either way nothing leaks and no charge strays.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "memory/failing_memory.h"
#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace {

constinit thread_local std::int64_t t_left = -1;  // that succeed before one fails; -1: all do
constinit thread_local bool t_failed = false;
constinit std::atomic<std::int64_t> g_blocks{0};

void* Take(std::size_t size, std::size_t alignment) noexcept {
  if (t_left >= 0 && t_left-- == 0) {
    t_failed = true;
    return nullptr;
  }
  void* block = nullptr;
  if (posix_memalign(&block, alignment < 16 ? 16 : alignment, size == 0 ? 1 : size) != 0) {
    return nullptr;
  }
  g_blocks.fetch_add(1);
  return block;
}

void* OrThrow(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void Give(void* block) noexcept {
  if (block != nullptr) g_blocks.fetch_sub(1);
  std::free(block);
}

}  // namespace

using std::align_val_t;
using std::nothrow_t;
using std::size_t;

void* operator new(size_t n) { return OrThrow(Take(n, 16)); }
void* operator new[](size_t n) { return OrThrow(Take(n, 16)); }
void* operator new(size_t n, const nothrow_t&) noexcept { return Take(n, 16); }
void* operator new[](size_t n, const nothrow_t&) noexcept { return Take(n, 16); }
void* operator new(size_t n, align_val_t a) { return OrThrow(Take(n, static_cast<size_t>(a))); }
void* operator new[](size_t n, align_val_t a) { return OrThrow(Take(n, static_cast<size_t>(a))); }
void operator delete(void* block) noexcept { Give(block); }
void operator delete[](void* block) noexcept { Give(block); }
void operator delete(void* block, size_t) noexcept { Give(block); }
void operator delete[](void* block, size_t) noexcept { Give(block); }
void operator delete(void* block, align_val_t) noexcept { Give(block); }
void operator delete[](void* block, align_val_t) noexcept { Give(block); }
void operator delete(void* block, size_t, align_val_t) noexcept { Give(block); }
void operator delete[](void* block, size_t, align_val_t) noexcept { Give(block); }

namespace mete {
namespace {

// Fails the n-th operator new of `scenario` for every n, until none is left to fail.
template <class Scenario>
int FailEachInTurn(Scenario scenario) {
  for (int fail = 0;; ++fail) {
    const std::int64_t before = g_blocks.load();
    FailingMemory memory;
    SharedBudget root(BudgetKind::kLevel, std::int64_t{16} << 20);
    t_failed = false;
    t_left = fail;
    scenario(root, memory);
    t_left = -1;
    EXPECT_EQ(root.charged(), 0) << "new " << fail;
    EXPECT_TRUE(memory.IsClean()) << "new " << fail;
    EXPECT_EQ(g_blocks.load(), before) << "new " << fail;
    if (!t_failed || testing::Test::HasFailure()) return fail;
  }
}

// What cannot say so otherwise throws.
template <class Call>
void MayThrow(Call call) {
  try {
    call();
  } catch (const std::bad_alloc&) {
  }
}

template <class T>
bool IsThereOrNoMemory(const Result<T>& result) {
  if (result) return true;
  EXPECT_EQ(result.error().code, ErrorCode::kSystem);
  return false;
}

void UseHost(SharedBudget& root, FailingMemory& memory) {
  HostOptions options;
  options.parent = &root;
  options.memory = &memory;
  options.frames = {.ready = 64 << 10, .reserve = 1 << 20, .max_threads = 4};
  options.persistent_ready = 64 << 10;
  options.persistent_reserve = 1 << 20;
  auto opened = HostBudgetManager::Open(options);
  if (!IsThereOrNoMemory(opened)) return;
  HostBudgetManager& host = **opened;
  auto owner = host.Owner("a name that is too long for the string object itself");
  static_cast<void>(IsThereOrNoMemory(owner));
  WarningSubscription subscription;
  MayThrow([&] { subscription = host.Subscribe([&host](const BudgetWarning&) {}); });
  MayThrow([&] { static_cast<void>(host.Subscribe([&host](const BudgetWarning&) {})); });
  for (int frame = 0; frame < 3; ++frame) {
    for (const auto scope :
         {AllocationScope::kFrame, AllocationScope::kPersistent, AllocationScope::kHeap}) {
      auto memory_of = host.RequestAllocation(5000, 64, scope);
      EXPECT_TRUE(memory_of) << "which asks no operator new";
    }
    MayThrow([&] {
      auto text = host.RequestStackResource<std::string>(2);
      (*text)[1] = "a text that is too long for the object";
    });
    MayThrow([&] {
      auto text = TrackedAllocation<std::string>::Make(host, AllocationScope::kPersistent,
                                                       "a text that is too long for the object");
      if (text) static_cast<void>(host.Defer(std::move(*text)));
    });
    MayThrow([&] {
      LifetimeScope scope(host);
      static_cast<void>(scope.Make<std::string>("a text that is too long for the object"));
    });
    host.BeginFrame();
  }
  MayThrow([&] { EXPECT_NE(host.snapshot().Text().size() + host.snapshot().Json().size(), 0u); });
  MayThrow([&] {
    auto kept = host.RequestAllocation(10, 16, AllocationScope::kHeap);
    EXPECT_EQ(host.leaks().size(), 1u);
  });
}

TEST(NewFaultsTest, EveryNewOfTheHostFailsInTurn) {
  const int runs = FailEachInTurn(UseHost);
  EXPECT_GT(runs, 40) << "the scenario makes fewer allocations than it should";
}

}  // namespace
}  // namespace mete
