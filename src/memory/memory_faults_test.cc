// Every call to the system that can fail does so once in turn: nothing leaks, no charge strays, and
// what is refused was refused as a whole.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/failing_memory.h"
#include "mete/host_budget_manager.h"
#include "mete/tracked_allocation.h"

namespace mete {
namespace {

// Uses every way to get memory; goes on where one is refused.
void Scenario(HostBudgetManager& host) {
  std::vector<Allocation> kept;
  HostOwner& owner = **host.Owner("owner");
  for (int frame = 0; frame < 4; ++frame) {
    for (const std::size_t size : {100, 60000, 200000, 3000000}) {
      for (const AllocationScope scope :
           {AllocationScope::kFrame, AllocationScope::kPersistent, AllocationScope::kHeap}) {
        auto memory = owner.RequestAllocation(size, 64, scope);
        if (!memory) continue;
        std::memset(memory->data(), frame, size);
        kept.push_back(std::move(*memory));
      }
    }
    auto strings = host.RequestStackResource<std::string>(20);
    if (strings) (*strings)[19] = "a text that is too long for the object";
    FrameMark mark(host.frames());
    auto more = host.RequestStackResource<std::vector<int>>(3000);
    if (more) (*more)[2999].resize(10);
    auto tracked = TrackedAllocation<std::string>::Make(host, AllocationScope::kHeap, "x");
    if (tracked) static_cast<void>(host.Defer(std::move(*tracked)));
    LifetimeScope scope(host);
    static_cast<void>(scope.Make<std::string>("y"));
    host.BeginFrame();
    if (kept.size() > 20) kept.erase(kept.begin(), kept.begin() + 10);
  }
}

TEST(MemoryFaultsTest, EveryCallFailsInTurn) {
  std::int64_t runs = 0;
  for (std::int64_t fail = 0;; ++fail) {
    FailingMemory memory;
    memory.FailAfter(fail);
    SharedBudget root(BudgetKind::kLevel, std::int64_t{16} << 20);
    {
      HostOptions options;
      options.parent = &root;
      options.memory = &memory;
      options.frames = {.ready = 64 << 10, .reserve = 8 << 20};
      options.persistent_ready = 64 << 10;
      options.persistent_reserve = 1 << 20;
      options.leaked = [](const auto& leaks) { ADD_FAILURE() << leaks.size() << " leaks"; };
      auto host = HostBudgetManager::Open(options);
      if (host) {
        Scenario(**host);
      } else {
        EXPECT_EQ(host.error().code, ErrorCode::kSystem);
        EXPECT_TRUE(memory.has_failed());
      }
    }
    EXPECT_EQ(root.charged(), 0) << "call " << fail;
    ASSERT_TRUE(memory.IsClean()) << "call " << fail;
    ++runs;
    if (!memory.has_failed()) break;
  }
  EXPECT_GT(runs, 30) << "the scenario makes fewer calls than it should";
}

TEST(MemoryFaultsTest, TheSystemsOwnMemory) {
  HostMemory& memory = SystemHostMemory();
  constexpr std::size_t kBytes = std::size_t{6} << 20;
  auto* begin = static_cast<char*>(memory.Reserve(kBytes));
  ASSERT_NE(begin, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(begin) % HostMemory::kHugePage, 0u);
  ASSERT_TRUE(memory.Commit(begin, kBytes / 2));
  std::memset(begin, 1, kBytes / 2);
  EXPECT_DEATH(*(begin + kBytes / 2) = 1, "");
  memory.Protect(begin, 65536, false);
  EXPECT_DEATH(*begin = 1, "");
  memory.Protect(begin, 65536, true);
  EXPECT_EQ(*begin, 1);
  memory.Decommit(begin, 65536);
  ASSERT_TRUE(memory.Commit(begin, 65536));
  EXPECT_EQ(*begin, 0) << "given back in between";
  memory.Release(begin, kBytes);
  EXPECT_EQ(memory.Reserve(~std::size_t{0}), nullptr);
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    void* block = memory.Allocate(100, alignment);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u);
    memory.Free(block, 100, alignment);
  }
}

}  // namespace
}  // namespace mete
