#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using enum EnforcementMode;
using enum QuotaAction;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Holds, Rule03ReserveNeverLetsChargedPassTheLimit) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100",
       {
           {"0s", "reserve tokens=101", "E2072 tokens_per_hour of agent a"},
           {"0s", "reserve tokens=60", "hold 1"},
           {"0s", "reserve tokens=60", "E2072 tokens_per_hour of agent a"},
           {"0s", "reserve tokens=41", "E2072 tokens_per_hour of agent a"},
           {"0s", "reserve tokens=40", "hold 2"},
           {"0s", "reserve tokens=1", "E2072 tokens_per_hour of agent a"},
           {"0s", "reserve tokens=0", "hold 3"},
           {"0s", "report tokens=0", "tokens_per_hour 0/100 +100"},
           {"0s", "release 2", "ok"},
           {"0s", "reserve tokens=40", "hold 4"},
       });
}

TEST(Holds, Rule09AHoldIsNotUseSoItRaisesNoEdge) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100",
       {
           {"0s", "reserve tokens=100", "hold 1"},
           {"1s", "settle 1 tokens=79", "tokens_per_hour 79/100"},
           {"2s", "reserve tokens=21", "hold 2"},
           {"3s", "settle 2", "tokens_per_hour 100/100",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour"},
       });
}

TEST(Holds, Rule14AHoldSurvivesItsWindowAndIsSettledInTheOneItSettlesIn) {
  const auto world = Play(With(kHard, kSuspend), "tokens_per_hour=100",
                          {
                              {"0s", "report tokens=30", "tokens_per_hour 30/100"},
                              {"59m", "reserve tokens=70", "hold 1"},
                              {"1h", "reserve tokens=31", "E2072 tokens_per_hour of agent a",
                               "window_rolled tokens_per_hour 30 x1"},
                              {"1h", "reserve tokens=30", "hold 2"},
                              {"1h1m", "settle 1 tokens=60", "tokens_per_hour 60/100 +30"},
                              {"1h2m", "reset", "ok", "reset"},
                              {"1h3m", "report tokens=0", "tokens_per_hour 0/100 +30"},
                              {"1h4m", "settle 2 tokens=10", "tokens_per_hour 10/100"},
                          });
  EXPECT_EQ(world->Usage("a").tokens_consumed, 100);
}

TEST(Holds, Rule14SettlingAboveTheHoldIsNeverRefusedAndSaysSo) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100 tokens_per_day=500",
       {
           {"0s", "reserve tokens=60", "hold 1"},
           {"0s", "reserve tokens=40", "hold 2"},
           {"1s", "settle 1 tokens=110",
            "tokens_per_hour 110/100 +40, tokens_per_day 110/500 +40 pending above tokens=50",
            "settled_above_hold tokens_per_hour 50; threshold 80% tokens_per_hour; "
            "threshold 95% tokens_per_hour; violation tokens_per_hour; suspended tokens_per_hour",
            "tokens_per_hour"},
           {"2s", "settle 2 tokens=0", "tokens_per_hour 110/100, tokens_per_day 110/500", "",
            "tokens_per_hour"},
       });
}

TEST(Holds, Rule14ASecondSettleReturnsTheFirstAnswer) {
  Play(With(kHard, kSuspend), "tokens_per_hour=100",
       {
           {"0s", "reserve tokens=50", "hold 1"},
           {"0s", "reserve tokens=1", "hold 2"},
           {"1s", "settle 1 tokens=55", "tokens_per_hour 55/100 +1 above tokens=5",
            "settled_above_hold tokens_per_hour 5"},
           {"2s", "release 2", "ok"},
           {"2s", "report tokens=5", "tokens_per_hour 60/100"},
           {"3s", "settle 1 tokens=99", "again"},
           {"4s", "release 1", "E2070 hold"},
           {"4s", "release 2", "E2070 hold"},
           {"4s", "settle 2 tokens=1", "E2070 hold"},
           {"4s", "settle 3 tokens=1", "E2070 hold"},
           {"5s", "report tokens=0", "tokens_per_hour 60/100"},
       });
}

TEST(Holds, Rule14WhatIsNotNamedWasUsedAsReservedAndWhatWasNotReservedIsAReport) {
  const auto world = Play(With(kHard, kSuspend), "tokens_per_hour=100 cost_per_day=1",
                          {
                              {"0s", "reserve tokens=50 requests=1", "hold 1"},
                              {"1s", "settle 1 tokens=20 cost=0.25",
                               "tokens_per_hour 20/100, cost_per_day 0.25/1 above cost=0.25",
                               "settled_above_hold cost_per_day 0.25"},
                          });
  EXPECT_EQ(world->Usage("a").requests, 1);
}

TEST(Holds, Rule13AHoldOnALevel) {
  const auto world = Play(With(kHard, kSuspend), "memory=100",
                          {
                              {"0s", "report memory=30", "memory 30/100"},
                              {"1s", "reserve memory=70", "hold 1"},
                              {"2s", "reserve memory=1", "E2072 memory of agent a"},
                              {"3s", "report memory=20", "memory 20/100 +70"},
                              {"4s", "settle 1 memory=50", "memory 70/100"},
                              {"5s", "report memory=60", "memory 60/100"},
                          });
  EXPECT_EQ(world->Usage("a").memory_peak_bytes, 70);
}

TEST(Holds, Rule16ARequestIsAdmittedOrToldWhenToRetry) {
  Play(With(kHard, kSuspend), "requests_per_minute=2",
       {
           {"0s", "reserve requests=3", "E2072 requests_per_minute of agent a"},  // can never fit
           {"0s", "reserve requests=1", "hold 1", ""},
           {"0s", "reserve requests=1", "hold 2",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           {"0s", "reserve requests=1", "E2077 requests_per_minute of agent a retry 30s"},
           {"29s", "reserve requests=1", "E2077 requests_per_minute of agent a retry 1s"},
           {"29s", "settle 1 requests=1", "requests_per_minute 2/2 retry 1s"},
           {"30s", "reserve requests=1", "hold 3",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           // Nothing of it has drained, so all of it comes back.
           {"30s", "release 3", "ok"},
           {"30s", "reserve requests=1", "hold 4",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           // The excess counts as a report, which is not refused.
           {"30s", "settle 4 requests=2",
            "requests_per_minute 3/2 pending above requests=1 retry 1m",
            "settled_above_hold requests_per_minute 1; violation requests_per_minute; "
            "suspended requests_per_minute",
            "requests_per_minute"},
           {"1m", "advance", "ok", "resumed requests_per_minute"},
       });
}

TEST(Holds, Rule16WhileThrottledAReservationIsToldWhenTheWindowEnds) {
  Play(With(kHard, kThrottle), "tokens_per_hour=10",
       {
           {"0s", "reserve tokens=11", "E2072 tokens_per_hour of agent a"},
           {"10m", "report tokens=11", "tokens_per_hour 11/10 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; throttled tokens_per_hour",
            "throttle: tokens_per_hour"},
           {"20m", "reserve tokens=1", "E2077 tokens_per_hour of agent a retry 40m", "",
            "throttle: tokens_per_hour"},
           {"1h", "reserve tokens=1", "hold 1",
            "window_rolled tokens_per_hour 11 x1; resumed tokens_per_hour"},
       });
}

const TargetName kTenant{QuotaScope::kTenant, "t"};
const TargetName kSession{QuotaScope::kSession, "s"};

QuotaOptions Below(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

TEST(Holds, Rule03ARefusalNamesTheAccountAndTheLimitAndLeavesNoTrace) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota(kTenant, LimitsOf("tokens_per_day=50")));
  ASSERT_TRUE(world->CreateQuota(kSession, LimitsOf("requests_per_minute=60 cost_per_day=1"),
                                 Below(kTenant)));
  ASSERT_TRUE(
      world->CreateQuota("writer", LimitsOf("memory=100 tokens_per_hour=100"), Below(kSession)));
  world.TakeEvents();
  // In the order of the resources: each is refused by another limit, after others agreed.
  const char* refused[][2] = {
      {"memory=101 tokens=50 requests=60 cost=1", "memory of agent writer: "},
      {"memory=100 tokens=51 requests=60 cost=1", "tokens_per_day of tenant t: "},
      {"memory=100 tokens=50 requests=61 cost=1", "requests_per_minute of session s: "},
      {"memory=100 tokens=50 requests=60 cost=1.000000001", "cost_per_day of session s: "}};
  for (const auto& [asked, name] : refused) {
    SCOPED_TRACE(asked);
    const auto hold = world->Reserve("writer", AmountsOf(asked));
    ASSERT_FALSE(hold.has_value());
    EXPECT_EQ(hold.error().code, ErrorCode::kLimitExceeded);
    EXPECT_EQ(hold.error().message.find(name), 0u) << hold.error().message;
    EXPECT_EQ(hold.error().message.find('\n'), std::string::npos);
    for (const ResourceQuota& quota : world->ListQuotas()) {
      for (const LimitUsage& usage : quota.windows) {
        EXPECT_EQ(usage.used, 0);
        EXPECT_EQ(usage.held, 0);
        EXPECT_EQ(usage.peak, 0);
      }
    }
    EXPECT_EQ(world.TakeEvents(), "");
  }
  // All of it still fits, and reaching the thresholds of the rate is new.
  auto hold = world->Reserve("writer", AmountsOf("tokens=50 memory=100 requests=60 cost=1"));
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(world.TakeEvents(),
            "session s: threshold 80% requests_per_minute; "
            "session s: threshold 95% requests_per_minute");
  EXPECT_EQ(world.Line(kTenant, LimitKind::kTokensPerDay).held, 50);
  EXPECT_EQ(world.Line(kSession, LimitKind::kCostPerDay).held, 1'000'000'000);
  EXPECT_EQ(world.Line("writer", LimitKind::kMemory).held, 100);
}

TEST(Holds, Rule03TheTextOfARefusal) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=1k cost_per_day=1.5")));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=900")));
  Result<Reservation> hold = world->Reserve("a", AmountsOf("tokens=50"));
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(world->Reserve("a", AmountsOf("tokens=51")).error().ToString(),
            "E2072: tokens_per_hour of agent a: would pass the limit; asked 51, used 900, held 50, "
            "limit 1000");
  EXPECT_EQ(world->Reserve("a", AmountsOf("cost=2.25")).error().ToString(),
            "E2072: cost_per_day of agent a: would pass the limit; asked 2.25, used 0, held 0, "
            "limit 1.5");
}

TEST(Holds, Rule03WhatEveryoneBelowHoldsCountsAbove) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "session s: create tokens_per_hour=100", "ok", "session s: created"},
           {"0s", "create under session s tokens_per_hour=90", "ok", "created"},
           {"0s", "b: create under session s", "ok", "b: created"},
           {"1s", "reserve tokens=60", "hold 1"},
           {"1s", "b: reserve tokens=41", "E2072 tokens_per_hour of session s"},
           {"1s", "reserve tokens=31", "E2072 tokens_per_hour of agent a"},
           {"1s", "b: reserve tokens=30", "hold 2"},
           {"1s", "session s: reserve tokens=10", "hold 3"},
           {"1s", "session s: reserve tokens=1", "E2072 tokens_per_hour of session s"},
           {"2s", "settle 1 tokens=10", "tokens_per_hour 10/90"},
           {"2s", "b: reserve tokens=51", "E2072 tokens_per_hour of session s"},
           {"2s", "b: reserve tokens=50", "hold 4"},
           {"3s", "b: cleanup", "ok", "b: removed"},  // what it held is free
           {"3s", "settle 4 tokens=1", "E2070 hold"},
           {"3s", "session s: reserve tokens=81", "E2072 tokens_per_hour of session s"},
           {"3s", "session s: reserve tokens=80", "hold 5"},
       });
}

TEST(Holds, Rule04BadAmountsAreRefusedWhole) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=100")));
  const Amounts negative = Amounts().Set(Resource::kTokens, 1).Set(Resource::kCost, -1);
  EXPECT_EQ(world->Reserve("a", negative).error().code, ErrorCode::kInvalidArgument);
  Result<Reservation> most = world->Reserve("a", Amounts().Set(Resource::kCost, kMax));
  ASSERT_TRUE(most.has_value());
  const Amounts one_more = Amounts().Set(Resource::kTokens, 1).Set(Resource::kCost, 1);
  EXPECT_EQ(world->Reserve("a", one_more).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(world->ReportUsage("a", one_more).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(world.Line("a", LimitKind::kTokensPerHour).held, 0);
  EXPECT_EQ(world.Usage("a"), ResourceUsage());

  // The settle that would overflow is refused, and the hold stands.
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  Result<Reservation> hold = world->Reserve("a", AmountsOf("tokens=1"));
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(hold->Settle(Amounts().Set(Resource::kTokens, kMax)).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(hold->Settle(negative).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(world.Line("a", LimitKind::kTokensPerHour).held, 1);
  EXPECT_TRUE(hold->Settle(Amounts().Set(Resource::kTokens, kMax - 1)).has_value());
  EXPECT_EQ(world.Usage("a").tokens_consumed, kMax);
  ASSERT_TRUE(most->Release().has_value());
}

TEST(Holds, Rule04HugeHoldsCanBeMadeAndReleasedForever) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a"));
  Amounts most, one;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    most.Set(static_cast<Resource>(i), kMax);
    one.Set(static_cast<Resource>(i), 1);
  }
  for (int i = 0; i < 10; ++i) {
    Result<Reservation> hold = world->Reserve("a", most);
    ASSERT_TRUE(hold.has_value());
    EXPECT_FALSE(world->Reserve("a", one).has_value());
    ASSERT_TRUE(hold->Release().has_value());
  }
  EXPECT_EQ(world.Usage("a"), ResourceUsage());
}

TEST(Holds, Rule12WhoIsToStandStillOrToEndReservesNothingOfAnyResource) {
  for (const QuotaAction action : {kSuspend, kTerminate}) {
    const bool ends = action == kTerminate;
    const char* causes = ends ? "end: tokens_per_hour" : "tokens_per_hour";
    Play(With(kHard, action), "tokens_per_hour=0",
         {
             {"0s", "reserve requests=1", "hold 1"},
             {"0s", "report tokens=1", "tokens_per_hour 1/0 pending",
              ends ? "violation tokens_per_hour; terminated tokens_per_hour"
                   : "violation tokens_per_hour; suspended tokens_per_hour",
              causes},
             {"1s", "reserve requests=1", "E2072 tokens_per_hour of agent a", "", causes},
             {"1s", "reserve cpu=1", "E2072 tokens_per_hour of agent a", "", causes},
         });
  }
}

TEST(Holds, Rule14TheOwnerIsTheHandleAndItsEndIsTheEndOfTheHold) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=100 cost_per_day=10")));
  const auto held = [&](LimitKind kind) { return world.Line("a", kind).held; };
  {
    Result<Reservation> one = world->Reserve("a", AmountsOf("tokens=60"));
    ASSERT_TRUE(one.has_value());
    Reservation moved = *std::move(one);
    EXPECT_FALSE(static_cast<bool>(*one));
    EXPECT_TRUE(static_cast<bool>(moved));
    EXPECT_EQ(held(LimitKind::kTokensPerHour), 60);
    moved = *world->Reserve("a", AmountsOf("tokens=40"));  // the one before it is over
    EXPECT_EQ(held(LimitKind::kTokensPerHour), 40);
  }
  EXPECT_EQ(held(LimitKind::kTokensPerHour), 0);
  EXPECT_EQ(world.Usage("a").tokens_consumed, 0);
  {
    // Money may have been spent: charged in full, and nothing else.
    Result<Reservation> spent = world->Reserve("a", AmountsOf("tokens=60 cost=9.5 requests=1"));
    ASSERT_TRUE(spent.has_value());
  }
  EXPECT_EQ(world.Usage("a").cost_nano, 9'500'000'000);
  EXPECT_EQ(world.Usage("a").tokens_consumed, 0);
  EXPECT_EQ(world.Usage("a").requests, 0);
  EXPECT_EQ(held(LimitKind::kCostPerDay), 0);
  HoldId id = 0;
  {
    Reservation hold = *world->Reserve("a", AmountsOf("tokens=1"));
    id = hold.Detach();
    EXPECT_FALSE(static_cast<bool>(hold));
  }
  EXPECT_EQ(held(LimitKind::kTokensPerHour), 1);
  world->Abandon(id);
  world->Abandon(id);
  world->Abandon(~HoldId{0});
  EXPECT_EQ(held(LimitKind::kTokensPerHour), 0);
}

TEST(Holds, Rule14ATimeLimitIsTheLastResort) {
  const auto world =
      Play(With(kHard, kSuspend), "tokens_per_hour=100 cost_per_day=5",
           {
               {"0s", "reserve ttl=10s tokens=60", "hold 1"},
               {"0s", "reserve ttl=20s tokens=10 cost=4", "hold 2"},
               {"0s", "reserve ttl=5s tokens=20", "hold 3"},
               {"4s", "settle 3 tokens=20", "tokens_per_hour 20/100 +70"},
               {"9.999999999s", "advance", "ok"},
               {"9.999999999s", "reserve tokens=11", "E2072 tokens_per_hour of agent a"},
               {"10s", "advance", "ok"},
               {"10s", "reserve tokens=70", "hold 4"},
               {"10s", "settle 1 tokens=1", "E2070 hold"},
               {"20s", "advance", "ok", "threshold 80% cost_per_day"},  // charged in full
               {"20s", "report cost=0 tokens=0", "tokens_per_hour 20/100 +70, cost_per_day 4/5"},
               // The answer is that of its end.
               {"21s", "settle 2 tokens=9", "tokens_per_hour 20/100 +70, cost_per_day 4/5"},
           });
  World other;
  ASSERT_TRUE(other->CreateQuota("a"));
  for (const Duration ttl : {Duration(0), Duration(-1), Duration(hours(24)) + Duration(1)}) {
    const auto refused = other->Reserve("a", AmountsOf("tokens=1"), {.ttl = ttl});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(refused.error().message.find("ttl: "), 0u);
  }
  EXPECT_EQ(other->NextDeadline(), other.at(hours(1)));
  ASSERT_TRUE(other->Reserve("a", AmountsOf("tokens=1"), {.ttl = Duration(1)})->Detach());
  EXPECT_EQ(other->NextDeadline(), other.at(Duration(1)));
}

TEST(Holds, Rule14OpenHoldsAreGivenBackWhenTheAccountEnds) {
  Play(With(kHard, kSuspend),
       {
           {"0s", "session s: create tokens_per_hour=10 memory=10 requests_per_minute=60", "ok",
            "session s: created"},
           {"0s", "create under session s", "ok", "created"},
           {"0s", "report memory=2", "ok"},
           {"0s", "reserve tokens=5 memory=5 requests=5 cost=1", "hold 1"},
           {"0s", "session s: report tokens=0 memory=0 requests=0",
            "memory 2/10 +5, tokens_per_hour 0/10 +5, requests_per_minute 5/60"},
           {"1s", "cleanup", "ok", "removed"},
           {"1s", "session s: report tokens=0 memory=0 requests=0",
            "memory 0/10, tokens_per_hour 0/10, requests_per_minute 0/60"},
           {"1s", "settle 1", "E2070 hold"},
           {"1s", "abandon 1", "ok"},
       });
}

TEST(Holds, Rule14AnswersAreKeptForAWhile) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a"));
  const Amounts none = AmountsOf("tokens=0");
  std::vector<HoldId> holds;
  for (int i = 0; i <= 4096; ++i) {
    holds.push_back(world->Reserve("a", none)->Detach());
    ASSERT_TRUE(world->Settle(holds.back(), none).has_value());
  }
  EXPECT_EQ(world->Settle(holds[0], none).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(world->Settle(holds[1], none).has_value());
}

// A limit that was removed and set again, or is new, did not admit what was reserved before.
TEST(Holds, Rule16AHoldGivesBackOnlyToTheRateThatAdmittedIt) {
  Play(With(kHard, kSuspend), "",
       {
           {"0s", "reserve requests=2", "hold 1"},
           {"0s", "set requests_per_minute=10", "ok", "updated requests_per_minute 10"},
           {"0s", "reserve requests=3", "hold 2"},
           {"0s", "release 1", "ok"},
           {"0s", "report requests=0", "requests_per_minute 3/10"},
           {"0s", "set requests_per_minute=none", "ok", "updated requests_per_minute none"},
           {"0s", "set requests_per_minute=10", "ok", "updated requests_per_minute 10"},
           {"0s", "reserve requests=4", "hold 3"},
           {"0s", "release 2", "ok"},
           {"0s", "report requests=0", "requests_per_minute 4/10"},
           {"0s", "settle 3 requests=1", "requests_per_minute 1/10"},
       });
}

TEST(Holds, Rule16WhatIsReservedBeyondWhatAnyTotalCouldHold) {
  World world;
  ASSERT_TRUE(world->CreateQuota("a"));
  Result<Reservation> hold = world->Reserve("a", AmountsOf("requests=1"));
  ASSERT_TRUE(world->ReportUsage("a", Amounts().Set(Resource::kRequests, kMax)));
  EXPECT_EQ(hold->Settle({}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(hold->Settle(AmountsOf("requests=0")).has_value());
  EXPECT_EQ(world.Usage("a").requests, kMax);
}

TEST(Holds, NobodyIsToldOfATargetThatIsNotThere) {
  World world;
  EXPECT_EQ(world->Reserve("a", AmountsOf("tokens=1")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Settle(1, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Release(1).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace mete
