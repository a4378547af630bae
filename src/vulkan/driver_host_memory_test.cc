#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>

#include "mete/host_budget_manager.h"
#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"

namespace mete {
namespace {

class DriverHostMemoryTest : public testing::Test {
 protected:
  static std::unique_ptr<HostBudgetManager> OpenHost() {
    HostOptions options;
    options.limit = std::int64_t{64} << 20;
    return *HostBudgetManager::Open(options);
  }
  void* Allocate(std::size_t size, std::size_t alignment) {
    return vk().pfnAllocation(vk().pUserData, size, alignment, kScope);
  }
  void* Reallocate(void* memory, std::size_t size) {
    return vk().pfnReallocation(vk().pUserData, memory, size, 8, kScope);
  }
  void Free(void* memory) { vk().pfnFree(vk().pUserData, memory); }
  const VkAllocationCallbacks& vk() const { return *memory_.callbacks(); }

  static constexpr VkSystemAllocationScope kScope = VK_SYSTEM_ALLOCATION_SCOPE_OBJECT;
  std::unique_ptr<HostBudgetManager> host_ = OpenHost();
  HostOwner* owner_ = *host_->Owner("driver", 1 << 20);
  DriverHostMemory memory_{*owner_};
};

TEST_F(DriverHostMemoryTest, AlignsAndCounts) {
  for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    void* const memory = Allocate(100, alignment);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, 0U);
    std::memset(memory, 0xFF, 100);
    EXPECT_EQ(memory_.live(), 1);
    EXPECT_EQ(memory_.live_bytes(), 100);
    EXPECT_GE(owner_->live_bytes(), 100);
    Free(memory);
  }
  EXPECT_EQ(memory_.live(), 0);
  EXPECT_EQ(memory_.live_bytes(), 0);
  EXPECT_EQ(memory_.allocations(), 13);
  EXPECT_EQ(owner_->live_count(), 0);
  Free(nullptr);
}

TEST_F(DriverHostMemoryTest, ReallocatingKeepsWhatFits) {
  void* memory = Reallocate(nullptr, 16);
  ASSERT_NE(memory, nullptr);
  std::memcpy(memory, "fifteen letters", 16);
  memory = Reallocate(memory, 4096);
  ASSERT_NE(memory, nullptr);
  EXPECT_STREQ(static_cast<const char*>(memory), "fifteen letters");
  memory = Reallocate(memory, 7);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(std::memcmp(memory, "fifteen", 7), 0);
  EXPECT_EQ(memory_.live(), 1);
  EXPECT_EQ(Reallocate(memory, 0), nullptr);
  EXPECT_EQ(memory_.live(), 0);
}

TEST_F(DriverHostMemoryTest, ARefusalLeavesWhatWasThere) {
  void* const memory = Allocate(16, 8);
  ASSERT_NE(memory, nullptr);
  std::memcpy(memory, "still", 6);
  EXPECT_EQ(Reallocate(memory, std::size_t{2} << 20), nullptr);  // more than the owner may have
  EXPECT_EQ(Allocate(0, 8), nullptr);
  EXPECT_EQ(Allocate(SIZE_MAX, 8), nullptr);
  EXPECT_STREQ(static_cast<const char*>(memory), "still");
  EXPECT_EQ(memory_.live(), 1);
  Free(memory);
}

TEST_F(DriverHostMemoryTest, ADriverLivesOnIt) {
  TestStand stand(TestStand::kTwoHeaps);
  stand.set_callbacks(memory_.callbacks());
  {
    auto allocator = *VMAAllocator::Open(stand.device());
    const auto buffer = allocator->CreateBuffer({.bytes = 1000, .usage = kBufferStorage}, {});
    ASSERT_TRUE(buffer);
    EXPECT_GT(memory_.live(), 0);
    allocator->Destroy(*buffer);
  }
  EXPECT_EQ(memory_.live(), 0);
}

}  // namespace
}  // namespace mete
