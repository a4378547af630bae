#include "vulkan/layer/rules.h"

#include <gtest/gtest.h>

namespace mete::layer {
namespace {

TEST(LayerRulesTest, ReadsWhatIsAllowed) {
  const auto rules =
      ParseRules("heaps=256Mi,1Gi;budget=192Mi;blocks=10;fail=3;hide_budget=1;lost=0");
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->heap_count, 2U);
  EXPECT_EQ(rules->heap_bytes[0], 256 << 20);
  EXPECT_EQ(rules->heap_bytes[1], 1 << 30);
  EXPECT_EQ(rules->budget_count, 1U);
  EXPECT_EQ(rules->budget_bytes[0], 192 << 20);
  EXPECT_EQ(rules->max_blocks, 10);
  EXPECT_EQ(rules->fail_at, 3);
  EXPECT_TRUE(rules->hide_budget);
  EXPECT_FALSE(rules->lost);
}

TEST(LayerRulesTest, NoTextIsNoRules) {
  const auto rules = ParseRules("");
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->heap_count, 0U);
  EXPECT_EQ(rules->fail_at, 0);
}

TEST(LayerRulesTest, RefusesWhatIsNotAllowed) {
  for (const char* text : {"heaps", "heaps=", "heap=1", "heaps=1,2,3", "fail=x", "=1", "lost=-1"}) {
    const auto rules = ParseRules(text);
    ASSERT_FALSE(rules) << text;
    EXPECT_EQ(rules.error().code, ErrorCode::kInvalidArgument) << text;
  }
}

TEST(LayerCountTest, HoldsEachHeapToItsSize) {
  Count count;
  count.SetRules(*ParseRules("heaps=100,50"));
  EXPECT_EQ(count.TryTake(0, 100), Verdict::kGranted);
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kHeapFull);
  EXPECT_EQ(count.TryTake(1, 51), Verdict::kHeapFull);
  EXPECT_EQ(count.TryTake(1, 50), Verdict::kGranted);
  count.Return(0, 100);
  EXPECT_EQ(count.heap(0).bytes, 0);
  EXPECT_EQ(count.heap(0).blocks, 0);
  EXPECT_EQ(count.heap(0).peak_bytes, 100);
  EXPECT_EQ(count.heap(1).bytes, 50);
  EXPECT_EQ(count.tried(), 4);
}

TEST(LayerCountTest, LimitsTheBlocksOfAllHeaps) {
  Count count;
  count.SetRules(*ParseRules("blocks=2"));
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kGranted);
  EXPECT_EQ(count.TryTake(1, 1), Verdict::kGranted);
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kTooManyBlocks);
  count.Return(1, 1);
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kGranted);
}

TEST(LayerCountTest, FailsOneOnceAndStartsAgainWithNewRules) {
  Count count;
  count.SetRules(*ParseRules("fail=2"));
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kGranted);
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kInjected);
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kGranted);
  EXPECT_EQ(count.heap(0).bytes, 2);
  count.SetRules(*ParseRules("fail=1"));
  EXPECT_EQ(count.TryTake(0, 1), Verdict::kInjected);
  EXPECT_EQ(count.heap(0).bytes, 2);
}

}  // namespace
}  // namespace mete::layer
