#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "mete/quota.h"
#include "mete/resource_manager.h"

namespace mete {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(QuotaWords, TheTableOfLimitsIsInTheOrderOfItsEnumeration) {
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(AllLimits()[i].kind), i);
    EXPECT_EQ(&InfoOf(static_cast<LimitKind>(i)), &AllLimits()[i]);
  }
}

TEST(QuotaWords, EachLimitSaysWhatItCountsAndHow) {
  struct Row {
    const char* name;
    const char* resource;
    Counting counting;
    int hours, minutes;
  };
  const Row rows[] = {
      {"cpu", "cpu", Counting::kCores, 0, 0},
      {"cpu_seconds_per_hour", "cpu", Counting::kWindow, 1, 0},
      {"memory", "memory", Counting::kLevel, 0, 0},
      {"gpu_memory", "gpu_memory", Counting::kLevel, 0, 0},
      {"tokens_per_hour", "tokens", Counting::kWindow, 1, 0},
      {"tokens_per_day", "tokens", Counting::kWindow, 24, 0},
      {"requests_per_minute", "requests", Counting::kRate, 0, 1},
      {"cost_per_day", "cost", Counting::kWindow, 24, 0},
  };
  ASSERT_EQ(std::size(rows), kLimitKindCount);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const auto kind = FindLimit(row.name);
    ASSERT_TRUE(kind.has_value());
    const LimitInfo& info = InfoOf(*kind);
    EXPECT_EQ(info.name, row.name);
    EXPECT_EQ(NameOf(info.resource), row.resource);
    EXPECT_EQ(info.counting, row.counting);
    EXPECT_EQ(info.window, std::chrono::hours(row.hours) + std::chrono::minutes(row.minutes));
    EXPECT_FALSE(info.what.empty());
  }
}

TEST(QuotaWords, FindsALimitByItsFieldOrItsFlag) {
  EXPECT_EQ(FindLimit("tokens-per-hour"), LimitKind::kTokensPerHour);
  EXPECT_EQ(FindLimit("tokens_per-hour"), LimitKind::kTokensPerHour);
  for (const char* wrong : {"", "token", "tokens_per_hour ", "Tokens_per_hour", "tokens.per.hour",
                            "--memory", "pids", "memory_mb"}) {
    EXPECT_FALSE(FindLimit(wrong).has_value()) << wrong;
  }
}

TEST(QuotaWords, EveryNameIsFoundAgain) {
  for (int i = 0; i < 3; ++i) {
    const auto scope = static_cast<QuotaScope>(i);
    EXPECT_EQ(FindScope(NameOf(scope)), scope);
    const auto mode = static_cast<EnforcementMode>(i);
    EXPECT_EQ(FindMode(NameOf(mode)), mode);
    const auto durability = static_cast<Durability>(i);
    EXPECT_EQ(FindDurability(NameOf(durability)), durability);
  }
  for (int i = 0; i <= static_cast<int>(EventKind::kStoreRecovered); ++i) {
    const auto kind = static_cast<EventKind>(i);
    EXPECT_EQ(FindEventKind(NameOf(kind)), kind);
  }
  EXPECT_EQ(NameOf(EventKind::kStoreRecovered), "store_recovered");
  EXPECT_EQ(NameOf(EventKind::kSettledAboveHold), "settled_above_hold");
  EXPECT_EQ(NameOf(Durability::kBounded), "bounded");
  for (int i = 0; i < 4; ++i) {
    const auto action = static_cast<QuotaAction>(i);
    EXPECT_EQ(FindAction(NameOf(action)), action);
  }
  EXPECT_EQ(NameOf(QuotaScope::kTenant), "tenant");
  EXPECT_EQ(NameOf(EnforcementMode::kSoftThenHard), "soft_then_hard");
  EXPECT_EQ(NameOf(QuotaAction::kTerminate), "terminate");
  EXPECT_FALSE(FindScope("Agent").has_value());
  EXPECT_FALSE(FindMode("soft").has_value());
  EXPECT_FALSE(FindAction("kill").has_value());
}

TEST(QuotaWords, LimitsAreReadInTheirUnitAndKeptAsEntered) {
  struct Row {
    LimitKind kind;
    const char* text;
    std::int64_t amount;
  };
  const Row rows[] = {
      {LimitKind::kCpu, "2", 2'000'000'000},
      {LimitKind::kCpu, "500m", 500'000'000},
      {LimitKind::kCpu, "1500m", 1'500'000'000},
      {LimitKind::kCpuSecondsPerHour, "1800", 1'800'000'000'000},
      {LimitKind::kMemory, "2Gi", 2147483648},
      {LimitKind::kMemory, "4G", 4'000'000'000},
      {LimitKind::kGpuMemory, "1", 1},
      {LimitKind::kTokensPerHour, "0", 0},
      {LimitKind::kTokensPerHour, "20k", 20'000},
      {LimitKind::kTokensPerDay, "9223372036854775806", kMax - 1},
      {LimitKind::kRequestsPerMinute, "60", 60},
      {LimitKind::kCostPerDay, "1.50", 1'500'000'000},
      {LimitKind::kCostPerDay, "1n", 1},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    const auto limit = ParseLimit(row.kind, row.text);
    ASSERT_TRUE(limit.has_value()) << limit.error().ToString();
    EXPECT_EQ(limit->amount, row.amount);
    EXPECT_EQ(limit->text, row.text);
  }
}

TEST(QuotaWords, Rule02ABadLimitIsRefusedByFieldAndNeverReadAsZeroOrUnlimited) {
  const char* texts[] = {"",
                         " ",
                         "-1",
                         "NaN",
                         "inf",
                         "1_000",
                         "2Gib",
                         "1 k",
                         "12\n",
                         "null",
                         "None",
                         "unlimited",
                         "9223372036854775807",
                         "9223372036854775808"};
  for (const char* text : texts) {
    SCOPED_TRACE(text);
    const auto limit = ParseLimit(LimitKind::kTokensPerHour, text);
    ASSERT_FALSE(limit.has_value());
    EXPECT_EQ(limit.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(limit.error().message.find("tokens_per_hour: "), 0u) << limit.error().message;
    EXPECT_EQ(limit.error().message.find('\n'), std::string::npos);
  }
}

TEST(QuotaWords, UnlessConfiguredTokensWarnFirstAndTheRestActsAtOnce) {
  const PolicySet policies = DefaultPolicies();
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const bool tokens = static_cast<Resource>(i) == Resource::kTokens;
    EXPECT_EQ(policies[i].mode, tokens ? EnforcementMode::kSoftThenHard : EnforcementMode::kHard);
    EXPECT_EQ(policies[i].action, QuotaAction::kSuspend);
  }
}

}  // namespace
}  // namespace mete
