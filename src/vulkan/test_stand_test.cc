// The stand itself: were it deaf or its layer without effect, every other test here would pass.
#include "vulkan/test_stand.h"

#include <gtest/gtest.h>

namespace mete {
namespace {

TEST(TestStandTest, HearsWhatValidationSays) {
  TestStand stand;
  const VkBufferCreateInfo info{.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                .size = 16,
                                .usage = 0,  // not allowed
                                .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
  VkBuffer buffer = VK_NULL_HANDLE;
  const VkDevice device = stand.device().device;
  ASSERT_EQ(vkCreateBuffer(device, &info, nullptr, &buffer), VK_SUCCESS);
  vkDestroyBuffer(device, buffer, nullptr);
  EXPECT_EQ(stand.TakeMessages().size(), 1U);
}

TEST(TestStandTest, LooksLikeADiscreteDevice) {
  TestStand stand("heaps=256Mi,512Mi;blocks=100;budget=100Mi");
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory{
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
  const std::int64_t queries = stand.layer().BudgetQueries();
  vkGetPhysicalDeviceMemoryProperties2(stand.device().physical, &memory);
  EXPECT_EQ(stand.layer().BudgetQueries(), queries + 1);
  EXPECT_EQ(memory.memoryProperties.memoryHeapCount, 2U);
  EXPECT_EQ(memory.memoryProperties.memoryTypeCount, 3U);
  EXPECT_EQ(memory.memoryProperties.memoryHeaps[0].size, 256U << 20);
  EXPECT_EQ(memory.memoryProperties.memoryHeaps[1].size, 512U << 20);
  EXPECT_EQ(budget.heapBudget[0], 100U << 20);
  EXPECT_EQ(budget.heapBudget[1], 512U << 20);
  VkPhysicalDeviceProperties properties{};
  vkGetPhysicalDeviceProperties(stand.device().physical, &properties);
  EXPECT_EQ(properties.limits.maxMemoryAllocationCount, 100U);
}

TEST(TestStandTest, CanHideTheBudget) {
  TestStand with;
  EXPECT_TRUE(with.device().memory_budget);
  EXPECT_TRUE(with.device().memory_priority);
  TestStand without("hide_budget=1");
  EXPECT_FALSE(without.device().memory_budget);
}

VkResult Take(const TestStand& stand, VkDeviceSize bytes, VkDeviceMemory* memory) {
  const VkMemoryAllocateInfo info{.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                  .allocationSize = bytes};
  return vkAllocateMemory(stand.device().device, &info, nullptr, memory);
}

TEST(TestStandTest, HeapsBlocksAndFailuresAreEnforced) {
  TestStand stand("heaps=1Mi;blocks=3;fail=2");
  const VkDevice device = stand.device().device;
  VkDeviceMemory first = VK_NULL_HANDLE;
  VkDeviceMemory second = VK_NULL_HANDLE;
  ASSERT_EQ(Take(stand, 1000, &first), VK_SUCCESS);
  EXPECT_EQ(Take(stand, 1000, &second), VK_ERROR_OUT_OF_DEVICE_MEMORY);  // the second one
  EXPECT_EQ(Take(stand, (1 << 20) - 999, &second), VK_ERROR_OUT_OF_DEVICE_MEMORY);
  ASSERT_EQ(Take(stand, (1 << 20) - 1000, &second), VK_SUCCESS);
  EXPECT_EQ(stand.LayerBytes(0), 1 << 20);
  EXPECT_EQ(stand.LayerBlocks(), 2);
  EXPECT_EQ(stand.layer().BlocksTried(), 4);
  vkFreeMemory(device, first, nullptr);
  vkFreeMemory(device, second, nullptr);
  EXPECT_EQ(stand.LayerBytes(0), 0);
  EXPECT_EQ(stand.layer().HeapCount(0).peak_bytes, 1 << 20);
}

TEST(TestStandTest, AnswersThatTheDeviceIsLost) {
  TestStand stand;
  auto queue = *VulkanTransferQueue::Open(stand.device(), stand.queue(), stand.family());
  ASSERT_TRUE(queue->Reached());
  stand.SetRules("lost=1");
  const auto reached = queue->Reached();
  ASSERT_FALSE(reached);
  EXPECT_EQ(reached.error().reason, DeviceError::Reason::kDeviceLost);
}

TEST(TestStandTest, RefusesRulesThatMakeNoSense) {
  TestStand stand;
  EXPECT_EQ(stand.layer().SetRules("heaps=0,0,0"), -1);
}

}  // namespace
}  // namespace mete
