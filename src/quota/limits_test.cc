#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

// Rule 1: over means strictly more than the limit.
TEST(Limits, Rule01EqualToTheLimitIsWithin) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100",
       {
           {"0s", "report tokens=79", "tokens_per_hour 79/100"},
           {"0s", "report tokens=1", "tokens_per_hour 80/100", "threshold 80% tokens_per_hour"},
           {"0s", "report tokens=19", "tokens_per_hour 99/100", "threshold 95% tokens_per_hour"},
           {"0s", "report tokens=1", "tokens_per_hour 100/100"},
           {"0s", "report tokens=1", "tokens_per_hour 101/100 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Limits, Rule01ALimitOfZeroAllowsNothingAndHasNoThresholds) {
  Play(With(kHard, kSuspend), "tokens_per_hour=0",
       {
           {"0s", "report tokens=0", "tokens_per_hour 0/0"},
           {"0s", "reserve tokens=1", "E2072 tokens_per_hour of agent a"},
           {"0s", "report tokens=1", "tokens_per_hour 1/0 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Limits, Rule02AnUnsetLimitIsUnlimitedAndOneSetLaterFindsWhatTheWindowHasSeen) {
  Play(With(kHard, kSuspend), "",
       {
           {"0s", "report tokens=500", "ok"},
           {"1m", "set tokens_per_hour=1000", "ok", "updated tokens_per_hour 1000"},
           {"2m", "report tokens=1", "tokens_per_hour 501/1000"},
           {"3m", "set tokens_per_hour=none", "ok", "updated tokens_per_hour none"},
           {"4m", "report tokens=9999", "ok"},
       });
}

TEST(Limits, Rule05SecondsOfCpuAreAPlainBudget) {
  Play(With(kHard, kSuspend), "cpu_seconds_per_hour=10",
       {
           {"0s", "sample cpu=7.5", "cpu_seconds_per_hour 7.5/10"},
           {"1s", "sample cpu=2.5", "cpu_seconds_per_hour 10/10",
            "threshold 80% cpu_seconds_per_hour; threshold 95% cpu_seconds_per_hour"},
           {"2s", "sample cpu=1n", "cpu_seconds_per_hour 10.000000001/10 pending",
            "violation cpu_seconds_per_hour; suspended cpu_seconds_per_hour",
            "cpu_seconds_per_hour"},
       });
}

TEST(Limits, Rule07WindowsEndOnTimeAlsoWhenNothingIsCharged) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100",
       {
           {"10m", "report tokens=101", "tokens_per_hour 101/100 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
           {"59m59s", "advance", "ok", "", "tokens_per_hour"},
           {"1h", "advance", "ok", "window_rolled tokens_per_hour 101 x1; resumed tokens_per_hour"},
           {"1h", "advance", "ok"},
           {"1h", "report tokens=80", "tokens_per_hour 80/100", "threshold 80% tokens_per_hour"},
           // Idle for seven hours and a half: one event, and the phase is kept.
           {"8h30m", "report tokens=3", "tokens_per_hour 3/100",
            "window_rolled tokens_per_hour 80 x7"},
           {"8h59m59s", "report tokens=1", "tokens_per_hour 4/100"},
           {"9h", "report tokens=1", "tokens_per_hour 1/100", "window_rolled tokens_per_hour 4 x1"},
       });
}

TEST(Limits, Rule07EachLimitHasItsOwnWindow) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100 tokens_per_day=150",
       {
           {"0s", "report tokens=90", "tokens_per_hour 90/100, tokens_per_day 90/150",
            "threshold 80% tokens_per_hour"},
           {"1h", "report tokens=61", "tokens_per_hour 61/100, tokens_per_day 151/150 pending",
            "window_rolled tokens_per_hour 90 x1; threshold 80% tokens_per_day; "
            "threshold 95% tokens_per_day; violation tokens_per_day; suspended tokens_per_day",
            "tokens_per_day"},
           {"2h", "advance", "ok", "window_rolled tokens_per_hour 61 x1", "tokens_per_day"},
           {"24h", "advance", "ok",
            "window_rolled tokens_per_hour 0 x22; window_rolled tokens_per_day 151 x1; "
            "resumed tokens_per_day"},
       });
}

TEST(Limits, Rule08ResetZeroesTheWindowStartsANewOneAndLeavesTheLifetime) {
  const auto world =
      Play(With(kSoftThenHard, kSuspend), "tokens_per_hour=100 memory=1000",
           {
               {"0s", "report tokens=101 memory=500", "memory 500/1000, tokens_per_hour 101/100",
                "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
                "violation tokens_per_hour; warned tokens_per_hour"},
               {"1s", "report tokens=1", "tokens_per_hour 102/100 pending",
                "suspended tokens_per_hour", "tokens_per_hour"},
               {"2s", "report memory=200", "memory 200/1000", "", "tokens_per_hour"},
               {"10m", "reset", "ok", "reset; resumed tokens_per_hour"},
               {"10m", "report tokens=101", "tokens_per_hour 101/100",
                "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
                "violation tokens_per_hour; warned tokens_per_hour"},
               {"1h9m59s", "advance", "ok"},
               {"1h10m", "advance", "ok", "window_rolled tokens_per_hour 101 x1"},
           });
  EXPECT_EQ(world->Usage("a").tokens_consumed, 203);
  EXPECT_EQ(world->Usage("a").memory_peak_bytes, 500);  // the highest level ever
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).peak, 200);
}

TEST(Limits, Rule08ResetLeavesTheOperatorsCause) {
  Play(With(kHard, kSuspend), "tokens_per_hour=0",
       {
           {"0s", "suspend", "ok", "suspended", "operator"},
           {"0s", "report tokens=1", "tokens_per_hour 1/0",
            "violation tokens_per_hour; suspended tokens_per_hour", "operator, tokens_per_hour"},
           {"1s", "reset", "ok", "reset", "operator"},
           {"2s", "resume", "ok", "resumed"},
       });
}

TEST(Limits, Rule11ALimitSetBelowWhatIsUsedCountsAsOneViolatingCharge) {
  Play(
      With(kSoftThenHard, kSuspend), "tokens_per_hour=1000",
      {
          {"0s", "report tokens=500", "tokens_per_hour 500/1000"},
          {"1s", "set tokens_per_hour=500", "ok",
           "updated tokens_per_hour 500; threshold 80% tokens_per_hour; "
           "threshold 95% tokens_per_hour"},
          {"2s", "set tokens_per_hour=499", "ok",
           "updated tokens_per_hour 499; violation tokens_per_hour; warned tokens_per_hour"},
          {"3s", "set tokens_per_hour=498", "ok",
           "updated tokens_per_hour 498; suspended tokens_per_hour", "tokens_per_hour"},
          {"4s", "set tokens_per_hour=400", "ok", "updated tokens_per_hour 400", "tokens_per_hour"},
      });
}

TEST(Limits, Rule11RaisingRemovesTheCausesOfThatLimitAndOnlyThose) {
  Play(With(kHard, kSuspend), "tokens_per_hour=10 tokens_per_day=20",
       {
           {"0s", "report tokens=21", "tokens_per_hour 21/10, tokens_per_day 21/20 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour; threshold 80% tokens_per_day; "
            "threshold 95% tokens_per_day; violation tokens_per_day; suspended tokens_per_day",
            "tokens_per_hour, tokens_per_day"},
           {"1s", "suspend", "ok", "suspended", "operator, tokens_per_hour, tokens_per_day"},
           {"2s", "set tokens_per_hour=100", "ok", "updated tokens_per_hour 100",
            "operator, tokens_per_day"},
           {"3s", "resume", "E2072 still suspended", "", "tokens_per_day"},
           {"4s", "set tokens_per_day=none", "ok",
            "updated tokens_per_day none; resumed tokens_per_day"},
       });
}

TEST(Limits, Rule11ARaiseThatIsNotEnoughIsAViolatingChargeAgain) {
  Play(With(kHard, kSuspend), "tokens_per_hour=10",
       {
           {"0s", "report tokens=50", "tokens_per_hour 50/10 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
           {"1s", "set tokens_per_hour=40", "ok",
            "updated tokens_per_hour 40; resumed tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
           {"2s", "set tokens_per_hour=50", "ok",
            "updated tokens_per_hour 50; resumed tokens_per_hour"},
           {"3s", "report tokens=1", "tokens_per_hour 51/50 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Limits, Rule11RaisingKeepsTheWarningOfTheWindow) {
  Play(Plain(), "tokens_per_hour=10",
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; warned tokens_per_hour"},
           {"1s", "set tokens_per_hour=100", "ok", "updated tokens_per_hour 100"},
           {"2s", "report tokens=90", "tokens_per_hour 101/100 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
       });
}

TEST(Limits, Rule02AnAgentTakesTheDefaultsWhereNothingIsSaidAndOthersAreUnlimited) {
  ManagerConfig config = Plain();
  config.default_limits = DefaultLimits();
  World world(config);
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("memory=1Gi")).has_value());
  ASSERT_TRUE(world->CreateQuota("b", LimitsOf("cpu=none memory=none tokens_per_hour=none")));
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kSession, "s"}));
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kTenant, "t"}));
  const ResourceQuota a = world.Quota("a");
  EXPECT_EQ(a.limits[LimitKind::kCpu]->text, "2");
  EXPECT_EQ(a.limits[LimitKind::kMemory]->text, "1Gi");
  EXPECT_EQ(a.limits[LimitKind::kMemory]->amount, 1 << 30);
  EXPECT_EQ(a.limits[LimitKind::kTokensPerHour]->amount, 100'000);
  EXPECT_FALSE(a.limits[LimitKind::kTokensPerDay].has_value());
  EXPECT_TRUE(world.Quota("b").windows.empty());
  EXPECT_TRUE(world.Quota({QuotaScope::kSession, "s"}).windows.empty());
  EXPECT_TRUE(world.Quota({QuotaScope::kTenant, "t"}).windows.empty());
}

TEST(Limits, Rule02EveryLimitCanBeSetAndIsShownInItsOrder) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a"));
  const char* texts[] = {"500m", "90", "1Gi", "2G", "1k", "1M", "60", "2.5"};
  std::string all;
  for (std::size_t i = kLimitKindCount; i-- > 0;) {
    const std::string name(InfoOf(static_cast<LimitKind>(i)).name);
    ASSERT_TRUE(world->UpdateQuota("a", LimitsOf(name + "=" + texts[i])));
  }
  const ResourceQuota quota = world.Quota("a");
  ASSERT_EQ(quota.windows.size(), kLimitKindCount);
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    EXPECT_EQ(quota.windows[i].kind, static_cast<LimitKind>(i));
    EXPECT_EQ(quota.windows[i].limit.text, texts[i]);
    EXPECT_EQ(quota.limits[static_cast<LimitKind>(i)]->text, texts[i]);
  }
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    const std::string name(InfoOf(static_cast<LimitKind>(i)).name);
    const auto left = world->UpdateQuota("a", LimitsOf(name + "=none"));
    ASSERT_TRUE(left.has_value());
    EXPECT_EQ(left->windows.size(), kLimitKindCount - 1 - i);
  }
}

TEST(Limits, Rule05CpuAllowsItsCoresForTheLengthOfTheWindow) {
  Play(With(kHard, kSuspend), "cpu=500m",
       {
           {"0s", "report cpu=1439", "cpu 1439/1800"},
           {"0s", "report cpu=1", "cpu 1440/1800", "threshold 80% cpu"},
           {"1s", "report cpu=360", "cpu 1800/1800", "threshold 95% cpu"},
           {"2s", "reserve cpu=1n", "E2072 cpu of agent a"},
           {"2s", "report cpu=1n", "cpu 1800.000000001/1800 pending",
            "violation cpu; suspended cpu", "cpu"},
           {"3s", "set cpu=1", "ok", "updated cpu 1; resumed cpu"},
           {"1h", "advance", "ok", "window_rolled cpu 1800.000000001 x1"},
       });
  ManagerConfig minute = With(kHard, kSuspend);
  minute.window = seconds(60);
  Play(minute, "cpu=2", {{"0s", "report cpu=7", "cpu 7/120"}});
}

TEST(Limits, Rule05WhereTheKernelHoldsTheCoresNoSecondsAreHeldAgainstThem) {
  const auto world =
      Play(With(kHard, kSuspend), "cpu=1 cpu_seconds_per_hour=4k",
           {
               {"0s", "attach measured=cpu cpu_held", "ok"},
               {"1s", "sample cpu=3601",
                "cpu 3601/3600, cpu_seconds_per_hour "
                "3601/4000",
                "threshold 80% cpu_seconds_per_hour"},
               {"2s", "report cpu=9", "measured cpu"},
               {"2s", "reserve cpu=300", "hold 1"},
               {"3s", "release 1", "ok"},
               {"1h", "advance", "ok", "window_rolled cpu_seconds_per_hour 3601 x1"},
               {"1h", "detach", "ok"},
               {"1h1m", "report cpu=3601", "cpu 3601/3600, cpu_seconds_per_hour 3601/4000 pending",
                "threshold 80% cpu; threshold 95% cpu; violation cpu; "
                "suspended cpu; threshold 80% cpu_seconds_per_hour",
                "cpu"},
               // Whoever holds the cores from now on: nothing is against them.
               {"1h2m", "attach cpu_held", "ok", "resumed cpu"},
           });
  EXPECT_FALSE(world->Line("a", LimitKind::kCpu).violated);
}

TEST(Limits, Rule07TheMainWindowReplacesTheHourlyOnes) {
  ManagerConfig config = With(kHard, kSuspend);
  config.window = seconds(60);
  const auto world = Play(config, "tokens_per_hour=10 cpu_seconds_per_hour=1 cost_per_day=1",
                          {{"59s", "report tokens=1", "tokens_per_hour 1/10"},
                           {"60s", "advance", "ok",
                            "window_rolled cpu_seconds_per_hour 0 x1; "
                            "window_rolled tokens_per_hour 1 x1"}});
  EXPECT_EQ(world->Line("a", LimitKind::kTokensPerHour).reset_at, world->at(seconds(120)));
  EXPECT_EQ(world->Line("a", LimitKind::kCpuSecondsPerHour).reset_at, world->at(seconds(120)));
  EXPECT_EQ(world->Line("a", LimitKind::kCostPerDay).reset_at, world->at(hours(24)));
  EXPECT_EQ((*world)->NextDeadline(), world->at(seconds(120)));
}

TEST(Limits, Rule07AnAccountMayHaveAMainWindowOfItsOwn) {
  const auto world = Play(
      With(kHard, kSuspend),
      {
          {"0s", "create window=90s tokens_per_hour=10", "ok", "created"},
          {"0s", "b: create tokens_per_hour=10", "ok", "b: created"},
          {"0s", "report tokens=5", "tokens_per_hour 5/10"},
          {"0s", "b: report tokens=5", "tokens_per_hour 5/10"},
          {"90s", "advance", "ok", "window_rolled tokens_per_hour 5 x1"},
          {"1h", "report tokens=1", "tokens_per_hour 1/10", "window_rolled tokens_per_hour 0 x39"},
          {"1h", "advance", "ok", "b: window_rolled tokens_per_hour 5 x1"},
      });
  EXPECT_EQ(world->Quota("a").usage.tokens_consumed, 1);
  EXPECT_EQ(world->Usage("a").tokens_consumed, 6);
}

TEST(Limits, Rule07UsageOfTheMainWindowEndsWithItAlsoWithoutLimits) {
  const auto world = Play(With(kHard, kSuspend), "",
                          {{"0s", "report tokens=5 cpu=1 requests=2 cost=0.5 memory=9", "ok"},
                           {"10m", "report memory=3 gpu_memory=4", "ok"}});
  const ResourceUsage usage = world->Quota("a").usage;
  EXPECT_EQ(usage.tokens_consumed, 5);
  EXPECT_EQ(usage.cpu_seconds(), 1.0);
  EXPECT_EQ(usage.requests, 2);
  EXPECT_EQ(usage.cost_nano, 500'000'000);
  EXPECT_EQ(usage.memory_peak_bytes, 9);
  const ResourceUsage lifetime = world->Usage("a");
  world->MoveTo(hours(1));
  ResourceUsage rolled;
  rolled.memory_bytes = rolled.memory_peak_bytes = 3;  // peaks restart at the level (rule 8)
  rolled.gpu_memory_bytes = rolled.gpu_memory_peak_bytes = 4;
  EXPECT_EQ(world->Quota("a").usage, rolled);
  EXPECT_EQ(world->Usage("a"), lifetime);
}

TEST(Limits, Rule07TheWallClockMayJump) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10")));
  world.MoveTo(seconds(600));
  const WallTime before = world.Quota("a").reset_at;
  world.JumpWall(hours(-72));
  EXPECT_EQ(world.Quota("a").reset_at, before - hours(72));
  EXPECT_EQ(world.Line("a", LimitKind::kTokensPerHour).reset_at, world.at(hours(1)));
  world.JumpWall(hours(1000));
  world.MoveTo(hours(1) - Duration(1));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  EXPECT_EQ(world.Line("a", LimitKind::kTokensPerHour).used, 1);
}

TEST(Limits, Rule07AWindowThatNeverEnds) {
  World world(With(kHard, kSuspend));
  QuotaOptions options;
  options.window = Duration::max();
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10 cpu=1"), options));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1 cpu=1")));
  world.MoveTo(hours(24 * 365 * 100));
  world->Advance();
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1 cpu=1")));
  EXPECT_EQ(world.Quota("a").usage.tokens_consumed, 2);
  EXPECT_EQ(world.Line("a", LimitKind::kTokensPerHour).reset_at, Time::max());
}

TEST(Limits, Rule08ResetClearsOnlyWhatComesFromTheLimitsOfThisAccount) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "session s: create tokens_per_hour=5", "ok", "session s: created"},
           {"0s", "create under session s tokens_per_hour=5", "ok", "created"},
           {"0s", "suspend", "ok", "suspended", "operator"},
           {"0s", "report tokens=6", "tokens_per_hour 6/5",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour; "
            "session s: threshold 80% tokens_per_hour; session s: threshold 95% tokens_per_hour; "
            "session s: violation tokens_per_hour; session s: suspended tokens_per_hour; "
            "suspended tokens_per_hour of session s",
            "operator, tokens_per_hour, tokens_per_hour of session s"},
           {"1s", "reset", "ok", "reset", "operator, tokens_per_hour of session s"},
           {"2s", "resume", "E2072 still suspended", "", "tokens_per_hour of session s"},
           {"3s", "session s: reset", "ok",
            "session s: reset; session s: resumed tokens_per_hour; "
            "resumed tokens_per_hour of session s"},
           {"4s", "report tokens=1", "tokens_per_hour 1/5"},
       });
}

TEST(Limits, Rule08ResetOfEveryResource) {
  const auto world = Play(
      With(kWarnOnly, kWarn),
      "cpu_seconds_per_hour=100 memory=100 gpu_memory=100 tokens_per_hour=100 tokens_per_day=100 "
      "requests_per_minute=100 cost_per_day=100",
      {{"10s", "report cpu=1 memory=2 gpu_memory=3 tokens=4 requests=5 cost=6",
        "cpu_seconds_per_hour 1/100, memory 2/100, gpu_memory 3/100, tokens_per_hour 4/100, "
        "tokens_per_day 4/100, requests_per_minute 5/100, cost_per_day 6/100"},
       {"20s", "report memory=1 gpu_memory=1", "memory 1/100, gpu_memory 1/100"},
       {"30s", "reset", "ok", "reset"},
       {"30s", "report cpu=0 memory=1 gpu_memory=1 tokens=0 requests=0 cost=0",
        "cpu_seconds_per_hour 0/100, memory 1/100, gpu_memory 1/100, tokens_per_hour 0/100, "
        "tokens_per_day 0/100, requests_per_minute 0/100, cost_per_day 0/100"}});
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).peak, 1);
  EXPECT_EQ(world->Line("a", LimitKind::kGpuMemory).peak, 1);
  EXPECT_EQ(world->Line("a", LimitKind::kTokensPerHour).reset_at, world->at(seconds(3630)));
  EXPECT_EQ(world->Line("a", LimitKind::kCostPerDay).reset_at, world->at(seconds(86430)));
  const ResourceUsage total = world->Usage("a");
  EXPECT_EQ(total.cpu_seconds(), 1.0);
  EXPECT_EQ(total.memory_peak_bytes, 2);
  EXPECT_EQ(total.gpu_memory_peak_bytes, 3);
  EXPECT_EQ(total.tokens_consumed, 4);
  EXPECT_EQ(total.requests, 5);
  EXPECT_EQ(total.cost_nano, 6'000'000'000);
}

TEST(Limits, Rule08AnUnknownTargetIsToldSo) {
  World world;
  EXPECT_EQ(world->ResetQuota("a").error().code, ErrorCode::kNotFound);
}

// An update is one step: all of it, or E2073 with the cause in its text and nothing of it.
TEST(Limits, Rule11ABadUpdateChangesNothing) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10 memory=10")));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=9")));
  world.TakeEvents();
  ResourceLimits limits;
  limits[LimitKind::kMemory] = Limit{20, "20"};
  limits[LimitKind::kTokensPerHour] = Limit{-1, "-1"};
  const auto refused = world->UpdateQuota("a", limits);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().ToString(),
            "E2073: E2071: tokens_per_hour: a negative limit; allowed: 0 and more, given -1");
  EXPECT_EQ(world.Line("a", LimitKind::kMemory).limit.amount, 10);
  EXPECT_EQ(world.TakeEvents(), "");
  const auto unknown = world->UpdateQuota("b", LimitsOf("memory=1"));
  EXPECT_EQ(unknown.error().ToString(), "E2073: E2070: agent: no such quota: \"b\"");
}

TEST(Limits, Rule11RemovingALimitEndsItsCause) {
  Play(With(kHard, kThrottle), "requests_per_minute=1 memory=1",
       {
           {"0s", "report requests=2 memory=2",
            "memory 2/1, requests_per_minute 2/1 pending retry 2m",
            "threshold 80% memory; threshold 95% memory; violation memory; throttled memory; "
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute; "
            "violation requests_per_minute; throttled requests_per_minute",
            "throttle: memory, requests_per_minute"},
           {"0s", "set memory=none", "ok", "updated memory none", "throttle: requests_per_minute"},
           {"0s", "set requests_per_minute=none", "ok",
            "updated requests_per_minute none; resumed requests_per_minute"},
           {"1s", "report requests=9 memory=9", "ok"},
           {"2s", "set requests_per_minute=1", "ok", "updated requests_per_minute 1"},
           {"2s", "report requests=1", "requests_per_minute 1/1 retry 1m",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           {"99h", "advance", "ok"},
       });
}

TEST(Limits, Rule11ARaiseOfTheRateEndsItsViolationAtOnceAndTheNextOneOnTime) {
  Play(With(kHard, kSuspend), "requests_per_minute=1",
       {
           {"0s", "report requests=61", "requests_per_minute 61/1 pending retry 1h1m",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute; "
            "violation requests_per_minute; suspended requests_per_minute",
            "requests_per_minute"},
           {"0s", "set requests_per_minute=600", "ok",
            "updated requests_per_minute 600; resumed requests_per_minute"},
           {"0s", "report requests=549", "requests_per_minute 610/600 pending retry 1.1s",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute; "
            "violation requests_per_minute; suspended requests_per_minute",
            "requests_per_minute"},
       });
}

// By time alone: nobody looks at the account in between.
TEST(Limits, Rule11AfterARaiseTheRateStillEndsItsViolationByItself) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("requests_per_minute=1")));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("requests=61")));
  ASSERT_TRUE(world->UpdateQuota("a", LimitsOf("requests_per_minute=600")));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("requests=549")));
  world.TakeEvents();
  EXPECT_EQ(world->NextDeadline(), world.at(seconds(1)));
  world.MoveTo(seconds(1));
  world->Advance();
  EXPECT_EQ(world.TakeEvents(), "resumed requests_per_minute");
}

}  // namespace
}  // namespace mete
