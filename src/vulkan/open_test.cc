#include <gtest/gtest.h>

#include "mete/vulkan/allocators.h"
#include "vulkan/test_stand.h"

namespace mete {
namespace {

TEST(OpenTest, ADeviceMustBeOne) {
  for (const auto& opened : {VMAAllocator::Open({}), DirectAllocator::Open({})}) {
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_FALSE(VulkanTransferQueue::Open({}, VK_NULL_HANDLE, 0));
}

TEST(OpenTest, OptionsThatMakeNoSense) {
  TestStand stand;
  const auto opened = VMAAllocator::Open(stand.device(), -1);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(VulkanTransferQueue::Open(stand.device(), VK_NULL_HANDLE, stand.family()));
}

// The loader answers null for what a device does not have.
TEST(OpenTest, NamesNeedTheirExtension) {
  TestStand stand;
  VulkanDevice device = stand.device();
  EXPECT_TRUE(DirectAllocator::Open(device));
  device.debug_names = false;
  EXPECT_TRUE(DirectAllocator::Open(device));
}

// The size of blocks is the caller's, where a heap is large.
TEST(OpenTest, BlocksHaveTheSizeGiven) {
  TestStand stand;
  auto allocator = *VMAAllocator::Open(stand.device(), 8 << 20);
  const auto buffer = allocator->CreateBuffer({.bytes = 4 << 20, .usage = kBufferStorage}, {});
  ASSERT_TRUE(buffer);
  EXPECT_EQ(stand.LayerBytes(0), 8 << 20);
  allocator->Destroy(*buffer);
}

TEST(OpenTest, TheDriversLimitOfBlocksIsAnAnswerOfItsOwn) {
  for (const bool vma : {false, true}) {
    TestStand stand("heaps=256Mi;blocks=2");
    auto allocator =
        vma ? *VMAAllocator::Open(stand.device()) : *DirectAllocator::Open(stand.device());
    EXPECT_EQ(allocator->layout().max_blocks, 2);
    const BufferDescription small{.bytes = 100, .usage = kBufferStorage};
    const auto one = allocator->CreateBuffer(small, {.dedicated = true});
    const auto two = allocator->CreateBuffer(small, {.dedicated = true});
    const auto three = allocator->CreateBuffer(small, {.dedicated = true});
    ASSERT_TRUE(one && two);
    ASSERT_FALSE(three);
    EXPECT_EQ(three.error().reason, DeviceError::Reason::kTooMany);
    allocator->Destroy(*one);
    allocator->Destroy(*two);
  }
}

}  // namespace
}  // namespace mete
