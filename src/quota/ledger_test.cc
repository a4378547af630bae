#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Ledger, ABadConfigurationNamesItsKey) {
  const auto key = [](ManagerConfig config) {
    const auto made = ResourceManager::Create(config);
    if (made) return std::string();
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    return made.error().message.substr(0, made.error().message.find(':'));
  };
  ManagerConfig config;
  EXPECT_EQ(key(config), "");
  config.thresholds = {95, 80};
  EXPECT_EQ(key(config), "thresholds");
  config.thresholds = {0};
  EXPECT_EQ(key(config), "thresholds");
  config.thresholds = {101};
  EXPECT_EQ(key(config), "thresholds");
  config.thresholds = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(key(config), "thresholds");
  config = {};
  config.soft_grace_reported = Duration(-1);
  EXPECT_EQ(key(config), "soft_grace_reported");
  config = {};
  config.soft_grace_sampled = Duration(-1);
  EXPECT_EQ(key(config), "soft_grace_sampled");
  config = {};
  config.window = milliseconds(999);
  EXPECT_EQ(key(config), "window");
  config = {};
  config.usage_report_interval = Duration(-1);
  EXPECT_EQ(key(config), "usage_report_interval");
  config = {};
  config.default_limits[LimitKind::kMemory] = Limit{-1, "-1"};
  EXPECT_EQ(key(config), "default_limits.memory");
  config = {};
  config.events_kept = 0;
  EXPECT_EQ(key(config), "");
}

TEST(Ledger, ATimeInThePastCountsAsTheLastOne) {
  class Backwards final : public Clock {
   public:
    Time Now() const override { return now; }
    WallTime WallNow() const override { return WallTime{}; }
    Time now{hours(5)};
  };
  Backwards clock;
  auto manager = *ResourceManager::Create(Plain(), clock);
  EventReader events = manager->Events();
  ASSERT_TRUE(manager->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  clock.now = Time(hours(1));
  ASSERT_TRUE(manager->ReportUsage("a", AmountsOf("tokens=9")));
  ASSERT_TRUE(manager->ResetQuota("a"));
  for (const Event& event : events.Take().events) EXPECT_EQ(event.time, Time(hours(5)));
  EXPECT_EQ(manager->GetQuota("a")->windows[0].reset_at, Time(hours(6)));
  EXPECT_EQ(manager->NextDeadline(), Time(hours(6)));
}

TEST(Ledger, TheDefaultsAreThoseOfTheSeed) {
  auto manager = *ResourceManager::Create();
  const ResourceQuota quota = *manager->CreateQuota("a");
  EXPECT_EQ(quota.limits[LimitKind::kCpu]->text, "2");
  EXPECT_EQ(quota.limits[LimitKind::kMemory]->text, "2Gi");
  EXPECT_EQ(quota.limits[LimitKind::kTokensPerHour]->amount, 100'000);
  EXPECT_EQ(quota.windows.size(), 3u);
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const bool is_tokens = static_cast<Resource>(i) == Resource::kTokens;
    EXPECT_EQ(quota.policies[i].mode,
              is_tokens ? EnforcementMode::kSoftThenHard : EnforcementMode::kHard);
    EXPECT_EQ(quota.policies[i].action, QuotaAction::kSuspend);
  }
}

// A name that was looked up is that of its scope.
TEST(Ledger, Rule06TheSameIdInThreeScopesIsThreeAccounts) {
  World world;
  const QuotaScope scopes[] = {QuotaScope::kAgent, QuotaScope::kSession, QuotaScope::kTenant};
  std::vector<QuotaHandle> handles;
  for (const QuotaScope scope : scopes) {
    ASSERT_TRUE(world->CreateQuota({scope, "same"}));
    handles.push_back(*world->Resolve({scope, "same"}));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const auto amount = static_cast<std::int64_t>(i + 1);
    ASSERT_TRUE(world->ReportUsage({scopes[i], "same"}, Amounts().Set(Resource::kTokens, amount)));
    ASSERT_TRUE(world->ReportUsage(handles[i], Amounts().Set(Resource::kTokens, amount)));
    EXPECT_EQ(world.Usage({scopes[i], "same"}).tokens_consumed, 2 * amount);
  }
}

}  // namespace
}  // namespace mete
