#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "quota/account.h"
#include "quota/account_rows_test.h"

namespace mete {
namespace {

using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

AccountConfig With(const char* limits, EnforcementMode mode, QuotaAction action) {
  AccountConfig config = ConfigOf(limits);
  config.policies = AllPolicies(mode, action);
  return config;
}

TEST(AccountHolds, Rule03ReserveNeverLetsChargedPassTheLimit) {
  Play(With("tokens_per_hour=100", kHard, kSuspend),
       {
           {"0s", "reserve tokens=101", "E2072 tokens_per_hour"},
           {"0s", "reserve tokens=60", "hold 1"},
           {"0s", "reserve tokens=60", "E2072 tokens_per_hour"},
           {"0s", "reserve tokens=41", "E2072 tokens_per_hour"},
           {"0s", "reserve tokens=40", "hold 2"},
           {"0s", "reserve tokens=1", "E2072 tokens_per_hour"},
           {"0s", "reserve tokens=0", "hold 3"},
           {"0s", "report tokens=0", "tokens_per_hour 0/100 +100"},
           {"0s", "release 2", "ok"},
           {"0s", "reserve tokens=40", "hold 4"},
       });
}

TEST(AccountHolds, Rule03ARefusalNamesTheAccountAndTheLimitAndLeavesNoTrace) {
  AccountConfig config =
      With("memory=100 tokens_per_hour=100 tokens_per_day=50 requests_per_minute=60 cost_per_day=1",
           kHard, kSuspend);
  config.id = "writer";
  Account account(config, Time{});
  // In the order of the limits: each of these is refused by another limit, after others agreed.
  const char* refused[] = {"tokens=51 memory=100 requests=60 cost=1",
                           "tokens=50 memory=101 requests=60 cost=1",
                           "tokens=50 memory=100 requests=61 cost=1",
                           "tokens=50 memory=100 requests=60 cost=1.000000001"};
  const char* names[] = {"tokens_per_day", "memory", "requests_per_minute", "cost_per_day"};
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(refused[i]);
    const auto hold = account.Reserve(AmountsOf(refused[i]), Time{});
    ASSERT_FALSE(hold.has_value());
    EXPECT_EQ(hold.error().code, ErrorCode::kLimitExceeded);
    EXPECT_EQ(hold.error().message.find(std::string(names[i]) + " of agent writer: "), 0u)
        << hold.error().message;
    EXPECT_EQ(hold.error().message.find('\n'), std::string::npos);
    for (const LimitUsage& usage : account.usage()) {
      EXPECT_EQ(usage.used, 0);
      EXPECT_EQ(usage.held, 0);
      EXPECT_EQ(usage.peak, 0);
    }
    EXPECT_TRUE(account.TakeEvents().empty());
  }
  // All of it still fits, and reaching the thresholds of the rate is new.
  ASSERT_TRUE(account.Reserve(AmountsOf("tokens=50 memory=100 requests=60 cost=1"), Time{}));
  EXPECT_EQ(TextOf(account.TakeEvents()),
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute");
}

TEST(AccountHolds, Rule03TheTextOfARefusal) {
  Account account(ConfigOf("tokens_per_hour=1k cost_per_day=1.5"), Time{});
  ASSERT_TRUE(account.Report(AmountsOf("tokens=900"), Source::kReported, Time{}));
  ASSERT_TRUE(account.Reserve(AmountsOf("tokens=50"), Time{}));
  EXPECT_EQ(account.Reserve(AmountsOf("tokens=51"), Time{}).error().ToString(),
            "E2072: tokens_per_hour of agent a: would pass the limit; asked 51, used 900, held 50, "
            "limit 1000");
  EXPECT_EQ(account.Reserve(AmountsOf("cost=2.25"), Time{}).error().ToString(),
            "E2072: cost_per_day of agent a: would pass the limit; asked 2.25, used 0, held 0, "
            "limit 1.5");
}

TEST(AccountHolds, Rule04BadAmountsAreRefusedWhole) {
  Account account(ConfigOf("tokens_per_hour=100"), Time{});
  Amounts negative;
  negative[Resource::kTokens] = 1;
  negative[Resource::kCost] = -1;
  EXPECT_EQ(account.Reserve(negative, Time{}).error().code, ErrorCode::kInvalidArgument);
  Amounts most;
  most[Resource::kCost] = kMax;
  ASSERT_TRUE(account.Reserve(most, Time{}).has_value());
  Amounts one_more;
  one_more[Resource::kTokens] = 1;
  one_more[Resource::kCost] = 1;
  EXPECT_EQ(account.Reserve(one_more, Time{}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(account.usage()[0].held, 0);

  // The settle that would overflow is refused, and the hold stands.
  ASSERT_TRUE(account.Report(AmountsOf("tokens=1"), Source::kReported, Time{}).has_value());
  const auto hold = account.Reserve(AmountsOf("tokens=1"), Time{});
  ASSERT_TRUE(hold.has_value());
  Amounts too_much;
  too_much[Resource::kTokens] = kMax;
  EXPECT_EQ(account.Settle(*hold, too_much, Time{}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(account.Settle(*hold, negative, Time{}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(account.usage()[0].held, 1);
  too_much[Resource::kTokens] = kMax - 1;
  EXPECT_TRUE(account.Settle(*hold, too_much, Time{}).has_value());
  EXPECT_EQ(account.usage()[0].used, kMax);
  EXPECT_EQ(account.lifetime(Resource::kTokens), kMax);
}

TEST(AccountHolds, Rule04HugeHoldsCanBeMadeAndReleasedForever) {
  Account account(ConfigOf(""), Time{});
  Amounts most;
  for (auto& amount : most.by_resource) amount = kMax;
  Amounts one;
  for (auto& amount : one.by_resource) amount = 1;
  for (int i = 0; i < 10; ++i) {
    const auto hold = account.Reserve(most, Time{});
    ASSERT_TRUE(hold.has_value());
    EXPECT_FALSE(account.Reserve(one, Time{}).has_value());
    ASSERT_TRUE(account.Release(*hold, Time{}).has_value());
  }
  EXPECT_EQ(account.lifetime(Resource::kTokens), 0);
}

TEST(AccountHolds, Rule09AHoldIsNotUseSoItRaisesNoEdge) {
  Play(With("tokens_per_hour=100", kHard, kSuspend),
       {
           {"0s", "reserve tokens=100", "hold 1"},
           {"1s", "settle 1 tokens=79", "tokens_per_hour 79/100"},
           {"2s", "reserve tokens=21", "hold 2"},
           {"3s", "settle 2", "tokens_per_hour 100/100",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour"},
       });
}

TEST(AccountHolds, Rule14AHoldSurvivesItsWindowAndIsSettledInTheOneItSettlesIn) {
  const auto account = Play(With("tokens_per_hour=100", kHard, kSuspend),
                            {
                                {"0s", "report tokens=30", "tokens_per_hour 30/100"},
                                {"59m", "reserve tokens=70", "hold 1"},
                                {"1h", "reserve tokens=31", "E2072 tokens_per_hour",
                                 "window_rolled tokens_per_hour 30 x1"},
                                {"1h", "reserve tokens=30", "hold 2"},
                                {"1h1m", "settle 1 tokens=60", "tokens_per_hour 60/100 +30"},
                                {"1h2m", "reset", "ok", "reset"},
                                {"1h3m", "report tokens=0", "tokens_per_hour 0/100 +30"},
                                {"1h4m", "settle 2 tokens=10", "tokens_per_hour 10/100"},
                            });
  EXPECT_EQ(account->lifetime(Resource::kTokens), 100);
}

TEST(AccountHolds, Rule14SettlingAboveTheHoldIsNeverRefusedAndSaysSo) {
  Play(With("tokens_per_hour=100 tokens_per_day=500", kHard, kSuspend),
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

TEST(AccountHolds, Rule14ASecondSettleReturnsTheFirstAnswer) {
  Play(With("tokens_per_hour=100", kHard, kSuspend),
       {
           {"0s", "reserve tokens=50", "hold 1"},
           {"0s", "reserve tokens=1", "hold 2"},
           {"1s", "settle 1 tokens=55", "tokens_per_hour 55/100 +1 above tokens=5",
            "settled_above_hold tokens_per_hour 5"},
           {"2s", "release 2", "ok"},
           {"2s", "report tokens=5", "tokens_per_hour 60/100"},
           {"3s", "settle 1 tokens=99", "tokens_per_hour 55/100 +1 above tokens=5"},
           {"4s", "release 1", "E2070 hold"},
           {"4s", "release 2", "E2070 hold"},
           {"4s", "settle 2 tokens=1", "E2070 hold"},
           {"4s", "settle 3 tokens=1", "E2070 hold"},
           {"5s", "report tokens=0", "tokens_per_hour 60/100"},
       });
}

TEST(AccountHolds, Rule14WhatIsNotNamedWasUsedAsReservedAndWhatWasNotReservedIsAReport) {
  const auto account = Play(With("tokens_per_hour=100 cost_per_day=1", kHard, kSuspend),
                            {
                                {"0s", "reserve tokens=50 requests=1", "hold 1"},
                                {"1s", "settle 1 tokens=20 cost=0.25",
                                 "tokens_per_hour 20/100, cost_per_day 0.25/1 above cost=0.25",
                                 "settled_above_hold cost_per_day 0.25"},
                            });
  EXPECT_EQ(account->lifetime(Resource::kRequests), 1);
}

TEST(AccountHolds, Rule13AHoldOnALevel) {
  const auto account =
      Play(With("memory=100", kHard, kSuspend), {
                                                    {"0s", "report memory=30", "memory 30/100"},
                                                    {"1s", "reserve memory=70", "hold 1"},
                                                    {"2s", "reserve memory=1", "E2072 memory"},
                                                    {"3s", "report memory=20", "memory 20/100 +70"},
                                                    {"4s", "settle 1 memory=50", "memory 70/100"},
                                                    {"5s", "report memory=60", "memory 60/100"},
                                                });
  EXPECT_EQ(account->peak(Resource::kMemory), 70);
}

TEST(AccountHolds, Rule14OpenHoldsAreGivenBackWhenTheAccountEnds) {
  Account account(ConfigOf("tokens_per_hour=100 memory=100 requests_per_minute=60"), Time{});
  ASSERT_TRUE(account.Reserve(AmountsOf("tokens=5 memory=5 requests=1"), Time{}).has_value());
  // The budgets check in their destructors that nothing is held.
}

TEST(AccountHolds, HoldsAndAnswersAreBoundedInNumber) {
  Account account(ConfigOf(""), Time{});
  const Amounts none = AmountsOf("tokens=0");
  std::vector<Account::HoldId> holds;
  for (std::size_t i = 0; i < Account::kMaxHolds; ++i) {
    const auto hold = account.Reserve(none, Time{});
    ASSERT_TRUE(hold.has_value());
    holds.push_back(*hold);
  }
  EXPECT_EQ(account.Reserve(none, Time{}).error().code, ErrorCode::kLimitExceeded);
  for (std::size_t i = 0; i <= Account::kSettledKept; ++i) {
    ASSERT_TRUE(account.Settle(holds[i], none, Time{}).has_value());
  }
  EXPECT_EQ(account.Settle(holds[0], none, Time{}).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(account.Settle(holds[1], none, Time{}).has_value());
  EXPECT_TRUE(account.Reserve(none, Time{}).has_value());
}

TEST(AccountHolds, Rule16ARequestIsAdmittedOrToldWhenToRetry) {
  Play(With("requests_per_minute=2", kHard, kSuspend),
       {
           {"0s", "reserve requests=3", "E2072 requests_per_minute"},  // can never fit
           {"0s", "reserve requests=1", "hold 1", ""},
           {"0s", "reserve requests=1", "hold 2",
            "threshold 80% requests_per_minute; threshold 95% requests_per_minute"},
           {"0s", "reserve requests=1", "E2077 requests_per_minute retry 30s"},
           {"29s", "reserve requests=1", "E2077 requests_per_minute retry 1s"},
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

TEST(AccountHolds, Rule16WhileThrottledAReservationIsToldWhenTheWindowEnds) {
  Play(With("tokens_per_hour=10", kHard, kThrottle),
       {
           {"0s", "reserve tokens=11", "E2072 tokens_per_hour"},
           {"10m", "report tokens=11", "tokens_per_hour 11/10 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; throttled tokens_per_hour",
            "throttle: tokens_per_hour"},
           {"20m", "reserve tokens=1", "E2077 tokens_per_hour retry 40m", "",
            "throttle: tokens_per_hour"},
           {"1h", "reserve tokens=1", "hold 1",
            "window_rolled tokens_per_hour 11 x1; resumed tokens_per_hour"},
       });
}

}  // namespace
}  // namespace mete
