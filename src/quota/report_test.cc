#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Report, Rule03AReportAlwaysCountsAlsoWhileSuspended) {
  Play(With(kHard, kSuspend), "tokens_per_hour=10",
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
           {"1s", "report tokens=5", "tokens_per_hour 16/10", "", "tokens_per_hour"},
           {"1s", "suspend", "ok", "suspended", "operator, tokens_per_hour"},
           {"2s", "report tokens=5", "tokens_per_hour 21/10", "", "operator, tokens_per_hour"},
       });
}

TEST(Report, Rule13AReportSetsTheLevelAndTheViolationEndsWhenItIsWithinTheLimit) {
  const auto world =
      Play(With(kHard, kSuspend), "memory=100",
           {
               {"0s", "sample memory=60", "memory 60/100"},
               {"1s", "sample memory=40", "memory 40/100"},
               {"2s", "sample memory=101", "memory 101/100 pending",
                "threshold 80% memory; threshold 95% memory; violation memory; "
                "suspended memory",
                "memory"},
               {"3s", "sample memory=100", "memory 100/100", "resumed memory"},
               // Still within 5 points: no new edge, but a violating charge.
               {"4s", "sample memory=101", "memory 101/100 pending", "suspended memory", "memory"},
               {"5s", "sample memory=95", "memory 95/100", "resumed memory"},
               {"6s", "sample memory=101", "memory 101/100 pending",
                "violation memory; suspended memory", "memory"},
               {"7s", "sample memory=0", "memory 0/100", "resumed memory"},
           });
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).peak, 101);
  EXPECT_EQ(world->Usage("a").memory_peak_bytes, 101);
}

TEST(Report, Rule16AReportedRateIsHeldByItsPolicyUntilItHasDrained) {
  Play(With(kHard, kSuspend), "requests_per_minute=60",
       {
           {"0s", "report requests=47", "requests_per_minute 47/60"},
           {"0s", "report requests=13", "requests_per_minute 60/60 retry 1s",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           // Drained to 50, 5 points below 95 per cent, and up again.
           {"10s", "report requests=10", "requests_per_minute 60/60 retry 1s",
            "threshold 95% requests_per_minute"},
           {"10s", "report requests=2", "requests_per_minute 62/60 pending retry 3s",
            "violation requests_per_minute; suspended requests_per_minute", "requests_per_minute"},
           {"11.5s", "advance", "ok", "", "requests_per_minute"},
           {"12s", "advance", "ok", "resumed requests_per_minute"},
       });
}

TEST(Report, Rule16ARateOfZeroNeverDrains) {
  const auto world = Play(
      With(kHard, kSuspend), "requests_per_minute=0",
      {
          {"0s", "report requests=0", "requests_per_minute 0/0"},
          {"0s", "report requests=1", "requests_per_minute 1/0 pending",
           "violation requests_per_minute; suspended requests_per_minute", "requests_per_minute"},
          {"99h", "advance", "ok", "", "requests_per_minute"},
      });
  EXPECT_EQ((*world)->NextDeadline(), world->at(hours(100)));  // but that of its windows
}

// As rows cannot write them: amounts at the ends of int64.
struct Extreme {
  const char* why;
  Resource resource;
  std::int64_t already, amount;
  const char* field;
};

constexpr Extreme kExtremes[] = {
    {"negative", Resource::kTokens, 0, -1, "tokens: a negative amount; allowed: 0 to "},
    {"most negative", Resource::kTokens, 0, -kMax - 1, "tokens: a negative amount"},
    {"a negative level", Resource::kMemory, 0, -1, "memory: a negative amount"},
    {"overflow by one", Resource::kTokens, 1, kMax, "tokens: the sum in agent "},
    {"overflow by one, from the end", Resource::kTokens, kMax, 1, "tokens: the sum in agent "},
    {"overflow without a limit", Resource::kCpu, kMax, 1, "cpu: the sum in agent "},
    {"overflow of money", Resource::kCost, kMax, 1, "cost: the sum in agent "},
    {"overflow of requests", Resource::kRequests, kMax, 1, "requests: the sum in agent "},
};

TEST(Report, Rule04BadAmountsAreRefusedWholeAndNothingIsRecorded) {
  for (const Extreme& row : kExtremes) {
    SCOPED_TRACE(row.why);
    World world;
    ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=100 memory=100")));
    ASSERT_TRUE(world->ReportUsage("a", Amounts().Set(row.resource, row.already)));
    const ResourceUsage before = world.Usage("a");
    world.TakeEvents();
    // A good amount of every resource beside the bad one.
    Amounts bad;
    for (std::size_t i = 0; i < kResourceCount; ++i) bad.Set(static_cast<Resource>(i), 0);
    bad.Set(Resource::kGpuMemory, 7).Set(row.resource, row.amount);
    const auto refused = world->ReportUsage("a", bad);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(refused.error().message.find(row.field), 0u) << refused.error().message;
    EXPECT_EQ(world.Usage("a"), before);
    EXPECT_EQ(world.TakeEvents(), "");
    const auto alone = world->ReportUsage("a", Amounts().Set(row.resource, row.amount));
    EXPECT_FALSE(alone.has_value());
    EXPECT_EQ(world.Usage("a"), before);
  }
}

TEST(Report, Rule04ASumThatOverflowsInAnAncestorIsRefusedWhole) {
  World world;
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kTenant, "t"}));
  QuotaOptions below;
  below.parent = {QuotaScope::kTenant, "t"};
  ASSERT_TRUE(world->CreateQuota("a", {}, below));
  ASSERT_TRUE(world->CreateQuota("b", {}, below));
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    SCOPED_TRACE(std::string(NameOf(resource)));
    ASSERT_TRUE(world->ReportUsage("a", Amounts().Set(resource, kMax)));
    const auto refused = world->ReportUsage("b", Amounts().Set(resource, 1));
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("the sum in tenant t would pass"), std::string::npos);
    // A level makes room when it falls.
    if (resource != Resource::kMemory && resource != Resource::kGpuMemory) continue;
    ASSERT_TRUE(world->ReportUsage("a", Amounts().Set(resource, kMax - 1)));
    EXPECT_TRUE(world->ReportUsage("b", Amounts().Set(resource, 1)));
  }
  EXPECT_EQ(world.Usage("b").tokens_consumed, 0);
}

TEST(Report, Rule04TheLargestAmountsAreCounted) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("memory=100")));
  Amounts most;
  for (std::size_t i = 0; i < kResourceCount; ++i) most.Set(static_cast<Resource>(i), kMax);
  ASSERT_TRUE(world->ReportUsage("a", most).has_value());
  const ResourceUsage usage = world.Usage("a");
  EXPECT_EQ(usage.cpu_ns, kMax);
  EXPECT_EQ(usage.memory_bytes, kMax);
  EXPECT_EQ(usage.gpu_memory_bytes, kMax);
  EXPECT_EQ(usage.tokens_consumed, kMax);
  EXPECT_EQ(usage.requests, kMax);
  EXPECT_EQ(usage.cost_nano, kMax);
  // A level can be set to it again and again.
  EXPECT_TRUE(world->ReportUsage("a", Amounts().Set(Resource::kMemory, kMax)).has_value());
}

TEST(Report, Rule04AFullRateTakesNoMoreThanItCanCount) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("requests_per_minute=60")));
  Result<Reservation> hold = world->Reserve("a", AmountsOf("requests=1"));
  ASSERT_TRUE(hold.has_value());
  EXPECT_FALSE(world->ReportUsage("a", Amounts().Set(Resource::kRequests, kMax)).has_value());
  EXPECT_TRUE(world->ReportUsage("a", Amounts().Set(Resource::kRequests, kMax - 1)).has_value());
  ASSERT_TRUE(hold->Settle({}).has_value());
  EXPECT_EQ(world.Usage("a").requests, kMax);
}

TEST(Report, Rule06AChargeCountsOnceAtEachLevelAbove) {
  const auto world = Play(
      With(kHard, kSuspend),
      {
          {"0s", "tenant t: create tokens_per_hour=1000 memory=1000", "ok", "tenant t: created"},
          {"0s", "session s: create under tenant t tokens_per_hour=500", "ok",
           "session s: created"},
          {"0s", "create under session s tokens_per_hour=100", "ok", "created"},
          {"0s", "b: create under session s", "ok", "b: created"},
          {"0s", "c: create under tenant t", "ok", "c: created"},
          {"0s", "d: create", "ok", "d: created"},
          {"1s", "report tokens=10 memory=100 cpu=1", "tokens_per_hour 10/100"},
          {"1s", "b: report tokens=20 memory=200 cost=2", "ok"},
          {"1s", "c: report tokens=40 requests=3", "ok"},
          {"1s", "d: report tokens=80", "ok"},
          {"1s", "session s: report tokens=160 gpu_memory=5", "tokens_per_hour 190/500"},
          {"1s", "tenant t: report tokens=320", "tokens_per_hour 550/1000"},
      });
  EXPECT_EQ(world->Usage("a").tokens_consumed, 10);
  EXPECT_EQ(world->Usage("d").tokens_consumed, 80);
  ResourceUsage session;
  session.cpu_ns = 1'000'000'000;
  session.memory_bytes = session.memory_peak_bytes = 300;
  session.gpu_memory_bytes = session.gpu_memory_peak_bytes = 5;
  session.tokens_consumed = 190;
  session.cost_nano = 2'000'000'000;
  EXPECT_EQ(world->Usage({QuotaScope::kSession, "s"}), session);
  ResourceUsage tenant = session;
  tenant.tokens_consumed = 550;
  tenant.requests = 3;
  EXPECT_EQ(world->Usage({QuotaScope::kTenant, "t"}), tenant);
}

TEST(Report, Rule06TheReceiptNamesTheLimitOnThePathThatLeavesTheLeast) {
  World world;
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kTenant, "t"}, LimitsOf("tokens_per_day=300")));
  QuotaOptions below;
  below.parent = {QuotaScope::kTenant, "t"};
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=200 memory=50"), below));
  ASSERT_TRUE(world->CreateQuota("b", {}, below));
  world.MoveTo(seconds(10));
  const auto i = static_cast<std::size_t>(Resource::kTokens);
  Receipt receipt = *world->ReportUsage("a", AmountsOf("tokens=40"));
  EXPECT_EQ(receipt.used[i], 40);
  EXPECT_EQ(receipt.limit[i], 200);
  EXPECT_EQ(receipt.remaining[i], 160);
  EXPECT_EQ(receipt.elapsed, seconds(10));
  EXPECT_DOUBLE_EQ(receipt.load(Resource::kTokens), 0.2);
  EXPECT_DOUBLE_EQ(receipt.rate_per_second(Resource::kTokens), 4.0);
  EXPECT_EQ(receipt.time_to_exhaustion(Resource::kTokens), seconds(40));
  ASSERT_TRUE(world->ReportUsage("b", AmountsOf("tokens=150")));
  receipt = *world->ReportUsage("a", AmountsOf("tokens=10"));
  EXPECT_EQ(receipt.limit[i], 300);
  EXPECT_EQ(receipt.remaining[i], 100);
  // What was not named is not answered; what has no limit is.
  EXPECT_FALSE(receipt.recorded.Has(Resource::kMemory));
  receipt = *world->ReportUsage("b", AmountsOf("memory=7"));
  EXPECT_EQ(receipt.limit[1], kUnlimited);
  EXPECT_EQ(receipt.remaining[1], kUnlimited);
  EXPECT_EQ(receipt.load(Resource::kMemory), 0.0);
  EXPECT_FALSE(receipt.time_to_exhaustion(Resource::kMemory).has_value());
}

TEST(Report, Rule13AncestorsChangeByTheDifference) {
  const auto world =
      Play(With(kHard, kSuspend),
           {
               {"0s", "tenant t: create memory=1000", "ok", "tenant t: created"},
               {"0s", "session s: create under tenant t memory=500", "ok", "session s: created"},
               {"0s", "create under session s memory=300", "ok", "created"},
               {"0s", "b: create under session s", "ok", "b: created"},
               {"1s", "report memory=200", "memory 200/300"},
               {"1s", "b: report memory=100", "ok"},
               {"1s", "session s: report memory=50", "memory 350/500"},
               {"1s", "tenant t: report memory=5", "memory 355/1000"},
               {"2s", "report memory=150", "memory 150/300"},
               {"2s", "session s: report memory=40", "memory 290/500"},
               {"2s", "session s: report memory=40", "memory 290/500"},
               {"2s", "tenant t: report memory=10", "memory 300/1000"},
               {"3s", "b: report memory=0", "ok"},
               {"3s", "session s: report memory=0", "memory 150/500"},
           });
  EXPECT_EQ(world->Line({QuotaScope::kTenant, "t"}, LimitKind::kMemory).used, 160);
  EXPECT_EQ(world->Line({QuotaScope::kTenant, "t"}, LimitKind::kMemory).peak, 355);
  EXPECT_EQ(world->Line({QuotaScope::kSession, "s"}, LimitKind::kMemory).peak, 350);
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).peak, 200);
}

TEST(Report, Rule13TheFallOfOneChildEndsTheViolationAbove) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "session s: create gpu_memory=100", "ok", "session s: created"},
           {"0s", "create under session s", "ok", "created"},
           {"0s", "b: create under session s", "ok", "b: created"},
           {"0s", "report gpu_memory=60", "ok"},
           {"0s", "b: report gpu_memory=41", "pending",
            "session s: threshold 80% gpu_memory; session s: threshold 95% gpu_memory; "
            "session s: violation gpu_memory; session s: suspended gpu_memory; "
            "suspended gpu_memory of session s; b: suspended gpu_memory of session s",
            "gpu_memory of session s"},
           {"1s", "report gpu_memory=59", "ok",
            "session s: resumed gpu_memory; resumed gpu_memory of session s; "
            "b: resumed gpu_memory of session s"},
       });
}

TEST(Report, Rule13ExitAndRemovalReturnTheLevels) {
  const auto world =
      Play(With(kHard, kSuspend),
           {
               {"0s", "session s: create memory=100", "ok", "session s: created"},
               {"0s", "create under session s memory=50", "ok", "created"},
               {"0s", "b: create under session s", "ok", "b: created"},
               {"0s", "attach", "ok"},
               {"0s", "sample memory=51", "memory 51/50 pending",
                "threshold 80% memory; threshold 95% memory; violation memory; suspended memory",
                "memory"},
               {"0s", "b: report memory=50 gpu_memory=9", "pending",
                "session s: threshold 80% memory; session s: threshold 95% memory; "
                "session s: violation memory; session s: suspended memory; "
                "suspended memory of session s; b: suspended memory of session s",
                "memory of session s"},
               {"1s", "detach", "ok",
                "session s: resumed memory; resumed memory of session s; "
                "b: resumed memory of session s"},
               {"2s", "b: cleanup", "ok", "b: removed"},
           });
  ResourceUsage session;
  session.memory_peak_bytes = 101;
  session.gpu_memory_peak_bytes = 9;
  EXPECT_EQ(world->Usage({QuotaScope::kSession, "s"}), session);
  EXPECT_EQ(world->Quota("a").usage.memory_bytes, 0);
}

TEST(Report, Rule15WhatIsMeasuredIsNotCountedWhenItIsReported) {
  const auto world =
      Play(With(kHard, kSuspend), "memory=100 tokens_per_hour=100 cpu_seconds_per_hour=100",
           {
               {"0s", "report memory=10 cpu=1", "cpu_seconds_per_hour 1/100, memory 10/100"},
               {"1s", "attach measured=cpu,memory", "ok"},
               {"1s", "report memory=90 cpu=50 tokens=5",
                "tokens_per_hour 5/100 measured cpu measured "
                "memory"},
               {"1s", "report memory=500", "measured memory"},
               {"2s", "sample memory=20 cpu=2", "cpu_seconds_per_hour 3/100, memory 20/100"},
               {"3s", "reserve memory=30 tokens=10", "hold 1"},
               {"3s", "detach", "ok"},
               {"4s", "report memory=30 cpu=1", "cpu_seconds_per_hour 4/100, memory 30/100 +30"},
           });
  EXPECT_EQ(world->Usage("a").cpu_seconds(), 4.0);
  EXPECT_EQ(world->Usage("a").tokens_consumed, 5);
}

TEST(Report, Rule15ASettleCountsNothingThatIsMeasured) {
  const auto world =
      Play(With(kHard, kSuspend), "memory=100 tokens_per_hour=100",
           {
               {"0s", "attach measured=memory", "ok"},
               {"0s", "reserve memory=30 tokens=10", "hold 1"},
               {"1s", "settle 1 memory=30 tokens=10", "tokens_per_hour 10/100 measured memory"},
           });
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).used, 0);
  EXPECT_EQ(world->Line("a", LimitKind::kMemory).held, 0);
}

TEST(Report, Rule16RatesAreHeldAtEachLevel) {
  Play(With(kHard, kThrottle),
       {
           {"0s", "session s: create requests_per_minute=6", "ok", "session s: created"},
           {"0s", "create under session s requests_per_minute=4", "ok", "created"},
           {"0s", "b: create under session s", "ok", "b: created"},
           {"0s", "reserve requests=3", "hold 1"},
           {"0s", "b: reserve requests=3", "hold 2",
            "session s: threshold 80% requests_per_minute; "
            "session s: threshold 95% requests_per_minute"},
           {"0s", "b: reserve requests=1", "E2077 requests_per_minute of session s retry 10s"},
           {"0s", "reserve requests=1", "E2077 requests_per_minute of session s retry 10s"},
           {"0s", "reserve requests=2", "E2077 requests_per_minute of agent a retry 15s"},
           {"0s", "release 1", "ok"},
           {"0s", "b: report requests=4", "pending retry 20s",
            "session s: threshold 80% requests_per_minute; "
            "session s: threshold 95% requests_per_minute; "
            "session s: violation requests_per_minute; session s: throttled requests_per_minute; "
            "throttled requests_per_minute of session s; "
            "b: throttled requests_per_minute of session s",
            "throttle: requests_per_minute of session s"},
           {"9.999999999s", "advance", "ok", "", "throttle: requests_per_minute of session s"},
           {"10s", "advance", "ok",
            "session s: resumed requests_per_minute; "
            "resumed requests_per_minute of session s; "
            "b: resumed requests_per_minute of session s"},
       });
}

// Events come in the order of the path for each resource, and of one report before the next.
TEST(Report, Rule18AReportOverSeveralResourcesAndLevelsIsOneStep) {
  Play(With(kWarnOnly, kWarn),
       {
           {"0s", "session s: create memory=10 tokens_per_hour=10 cpu_seconds_per_hour=10", "ok",
            "session s: created"},
           {"0s", "create under session s memory=10 tokens_per_hour=10 tokens_per_day=5", "ok",
            "created"},
           {"0s", "report cpu=8 memory=8 tokens=8",
            "memory 8/10, tokens_per_hour 8/10, tokens_per_day 8/5",
            "session s: threshold 80% cpu_seconds_per_hour; threshold 80% memory; "
            "session s: threshold 80% memory; threshold 80% tokens_per_hour; "
            "threshold 80% tokens_per_day; threshold 95% tokens_per_day; "
            "violation tokens_per_day; warned tokens_per_day; "
            "session s: threshold 80% tokens_per_hour"},
       });
}

}  // namespace
}  // namespace mete
