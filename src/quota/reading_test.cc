#include <gtest/gtest.h>

#include <limits>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

// What a fleet would be scaled by.
TEST(Reading, EachLimitSaysHowMuchOfItIsTakenAndHowLongTheRestLasts) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=1000 memory=100 cpu=1")));
  LimitUsage line = world.Line("a", LimitKind::kTokensPerHour);
  EXPECT_EQ(line.load(), 0.0);
  EXPECT_EQ(line.rate_per_second(), 0.0);
  EXPECT_FALSE(line.time_to_exhaustion().has_value());
  world.MoveTo(seconds(100));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=200 memory=80 cpu=36")));
  Result<Reservation> hold = world->Reserve("a", AmountsOf("tokens=300"));
  line = world.Line("a", LimitKind::kTokensPerHour);
  EXPECT_EQ(line.remaining(), 500);
  EXPECT_DOUBLE_EQ(line.load(), 0.5);
  EXPECT_DOUBLE_EQ(line.rate_per_second(), 2.0);
  EXPECT_EQ(line.time_to_exhaustion(), seconds(250));
  EXPECT_EQ(line.elapsed, seconds(100));
  EXPECT_EQ(line.reset_at, world.at(hours(1)));
  EXPECT_FALSE(line.violated);
  line = world.Line("a", LimitKind::kCpu);
  EXPECT_EQ(line.effective, 3'600'000'000'000);
  EXPECT_DOUBLE_EQ(line.load(), 0.01);
  line = world.Line("a", LimitKind::kMemory);
  EXPECT_DOUBLE_EQ(line.load(), 0.8);
  EXPECT_FALSE(line.reset_at.has_value());
  EXPECT_FALSE(line.time_to_exhaustion().has_value());
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=900")));
  line = world.Line("a", LimitKind::kTokensPerHour);
  EXPECT_EQ(line.remaining(), 0);
  EXPECT_TRUE(line.violated);
  EXPECT_GT(line.load(), 1.0);
  EXPECT_EQ(line.time_to_exhaustion(), Duration(0));
}

TEST(Reading, ALimitOfZeroIsFullAndWhatIsUnlimitedIsEmpty) {
  LimitUsage line;
  EXPECT_EQ(line.remaining(), kUnlimited);
  EXPECT_EQ(line.load(), 0.0);
  line.used = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(line.load(), 0.0);
  line.effective = 0;
  EXPECT_GT(line.load(), 1.0);
  EXPECT_EQ(line.remaining(), 0);
  line.used = 0;
  EXPECT_EQ(line.load(), 1.0);
  line.effective = std::numeric_limits<std::int64_t>::max() - 1;
  line.held = line.effective;
  line.used = 1;
  EXPECT_EQ(line.remaining(), 0);
}

TEST(Reading, AQuotaIsShownAsItsOwnerMadeIt) {
  World world;
  const TargetName tenant{QuotaScope::kTenant, "t"};
  QuotaOptions options;
  options.parent = tenant;
  options.window = seconds(90);
  options.policies[static_cast<std::size_t>(Resource::kCost)] = Policy{kWarnOnly, kThrottle};
  ASSERT_TRUE(world->CreateQuota(tenant));
  world.JumpWall(hours(500'000));
  const ResourceQuota made =
      *world->CreateQuota("a", LimitsOf("memory=1.5Gi cost_per_day=12.50"), options);
  EXPECT_EQ(made.target.ToString(), "agent a");
  EXPECT_EQ(made.parent->ToString(), "tenant t");
  EXPECT_EQ(made.limits[LimitKind::kMemory]->text, "1.5Gi");
  EXPECT_EQ(made.limits[LimitKind::kCostPerDay]->text, "12.50");
  EXPECT_EQ(made.limits[LimitKind::kCostPerDay]->amount, 12'500'000'000);
  EXPECT_EQ(made.policies[5].mode, kWarnOnly);
  EXPECT_EQ(made.policies[3].mode, kSoftThenHard);
  EXPECT_EQ(made.reset_at, WallTime(hours(500'000)) + seconds(90));
  EXPECT_EQ(made.usage, QuotaUsage());
  EXPECT_TRUE(made.causes.empty());
  world.MoveTo(seconds(100));
  EXPECT_EQ(world.Quota("a").reset_at, WallTime(hours(500'000)) + seconds(180));
  const ResourceQuota updated = *world->UpdateQuota("a", LimitsOf("memory=2G"));
  EXPECT_EQ(updated.limits[LimitKind::kMemory]->text, "2G");
  EXPECT_EQ(world->ResetQuota("a")->reset_at, WallTime(hours(500'000)) + seconds(190));
}

TEST(Reading, WhoIsNotThereIsNotFound) {
  World world;
  EXPECT_EQ(world->GetQuota("a").error().ToString(), "E2070: agent: no such quota: \"a\"");
  EXPECT_EQ(world->GetUsage({QuotaScope::kTenant, "x\ny"}).error().ToString(),
            "E2070: tenant: no such quota: \"x\\x0ay\"");
  EXPECT_TRUE(world->ListQuotas().empty());
}

}  // namespace
}  // namespace mete
