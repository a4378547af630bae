#include "agent/requests.h"

#include <gtest/gtest.h>

namespace mete::agent {
namespace {

TEST(ReadUsage, TakesEveryField) {
  const auto message = ReadUsage(
      R"({"tokens": 1500, "requests": 2, "cost": "0.25", "gpu_memory_mb": 1.5,
          "cpu_seconds": 1.5, "memory_mb": 12})",
      false);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->amounts, Amounts()
                                  .Set(Resource::kTokens, 1500)
                                  .Set(Resource::kRequests, 2)
                                  .Set(Resource::kCost, 250'000'000)
                                  .Set(Resource::kGpuMemory, 3 << 19)
                                  .Set(Resource::kCpu, 1'500'000'000)
                                  .Set(Resource::kMemory, 12 << 20));
  EXPECT_FALSE(message->ttl);
}

TEST(ReadUsage, TakesTheEdges) {
  const Amounts nothing = ReadUsage(R"({"tokens": 0})", false)->amounts;
  EXPECT_TRUE(nothing.Has(Resource::kTokens));
  EXPECT_EQ(nothing.Get(Resource::kTokens), 0);
  EXPECT_EQ(ReadUsage(R"({"tokens": 9223372036854775807})", false)->amounts.Get(Resource::kTokens),
            9223372036854775807);
  // A byte in MiB has 20 decimal places; nine of them, rounded up, give the byte back.
  EXPECT_EQ(
      ReadUsage(R"({"gpu_memory_mb": 0.000000953})", false)->amounts.Get(Resource::kGpuMemory), 1);
}

TEST(ReadUsage, RefusesWholeWhatIsBad) {
  const char* bodies[] = {
      "",
      "[]",
      "1",
      "{}",
      R"({"token": 1})",
      R"({"tokens": -1})",
      R"({"tokens": 1.5})",
      R"({"tokens": 1e3})",
      R"({"tokens": "12"})",
      R"({"tokens": null})",
      R"({"tokens": 9223372036854775808})",
      R"({"tokens": NaN})",
      R"({"tokens": 1, "tokens": 1})",
      R"({"tokens": 1, "more": 1})",
      R"({"tokens": 1} x)",
      R"({"cost": -0.1})",
      R"({"cost": "1.0000000001"})",
      R"({"cost": 1e300})",
      R"({"memory_mb": -1})",
      R"({"gpu_memory_mb": 9000000000000})",
      R"({"tokens": 1, "ttl_seconds": 5})",
  };
  for (const char* body : bodies) {
    const auto message = ReadUsage(body, false);
    ASSERT_FALSE(message) << body;
    EXPECT_EQ(message.error().code, ErrorCode::kInvalidArgument) << body;
    EXPECT_FALSE(message.error().message.empty()) << body;
  }
}

TEST(ReadUsage, TakesATimeToLiveOfHolds) {
  EXPECT_EQ(ReadUsage(R"({"tokens": 1, "ttl_seconds": 1.5})", true)->ttl,
            Duration(std::chrono::milliseconds(1500)));
  EXPECT_FALSE(ReadUsage(R"({"tokens": 1, "ttl_seconds": 0})", true));
  EXPECT_FALSE(ReadUsage(R"({"ttl_seconds": 5})", true));
}

TEST(ReadLimits, TakesTextsNumbersAndNull) {
  const auto limits =
      ReadLimits(R"({"limits": {"tokens_per_hour": "20000", "cpu": 2, "memory": null}})");
  ASSERT_TRUE(limits) << limits.error().message;
  EXPECT_EQ((*limits)[LimitKind::kTokensPerHour]->amount, 20000);
  EXPECT_EQ((*limits)[LimitKind::kTokensPerHour]->text, "20000");
  EXPECT_EQ((*limits)[LimitKind::kCpu]->amount, 2'000'000'000);
  EXPECT_EQ((*limits)[LimitKind::kMemory]->amount, kUnlimited);
  EXPECT_FALSE((*limits)[LimitKind::kCostPerDay]);
}

TEST(ReadLimits, RefusesWholeWhatIsBad) {
  const char* bodies[] = {
      "",
      "{}",
      R"({"limits": {}})",
      R"({"limits": null})",
      R"({"limits": {"tokens": "1"}})",
      R"({"limits": {"memory": "2Gib"}})",
      R"({"limits": {"memory": true}})",
      R"({"limits": {"memory": -1}})",
      R"({"limits": {"memory": ""}})",
      R"({"limits": {"memory": "1Gi"}, "more": 1})",
      R"({"limits": {"memory": "1Gi", "cpu": "x"}})",
  };
  for (const char* body : bodies) {
    const auto limits = ReadLimits(body);
    ASSERT_FALSE(limits) << body;
    EXPECT_EQ(limits.error().code, ErrorCode::kUpdateFailed) << body;
    EXPECT_NE(limits.error().message.find("E2071"), std::string::npos) << limits.error().message;
  }
}

TEST(ReadOverride, IsFalseUnlessAskedFor) {
  EXPECT_EQ(ReadOverride("").value(), false);
  EXPECT_EQ(ReadOverride("{}").value(), false);
  EXPECT_EQ(ReadOverride(R"({"override": false})").value(), false);
  EXPECT_EQ(ReadOverride(R"({"override": true})").value(), true);
  for (const char* body :
       {R"({"override": 1})", R"({"overide": true})", "true", R"({"override": true, "x": 1})"}) {
    EXPECT_FALSE(ReadOverride(body)) << body;
  }
}

}  // namespace
}  // namespace mete::agent
