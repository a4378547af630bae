#include "quota/account.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "quota/account_rows_test.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

AccountConfig With(const char* limits, EnforcementMode mode, QuotaAction action) {
  AccountConfig config = ConfigOf(limits);
  config.policies = AllPolicies(mode, action);
  return config;
}

// Rule 1: over means strictly more than the limit.
TEST(Account, Rule01EqualToTheLimitIsWithin) {
  Play(With("tokens_per_hour=100", kHard, kSuspend),
       {
           {"0s", "report tokens=79", "tokens_per_hour 79/100"},
           {"0s", "report tokens=1", "tokens_per_hour 80/100", "threshold 80% tokens_per_hour"},
           {"0s", "report tokens=19", "tokens_per_hour 99/100", "threshold 95% tokens_per_hour"},
           {"0s", "report tokens=1", "tokens_per_hour 100/100"},
           {"0s", "report tokens=1", "tokens_per_hour 101/100 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Account, Rule01ALimitOfZeroAllowsNothingAndHasNoThresholds) {
  Play(With("tokens_per_hour=0", kHard, kSuspend),
       {
           {"0s", "report tokens=0", "tokens_per_hour 0/0"},
           {"0s", "reserve tokens=1", "E2072 tokens_per_hour"},
           {"0s", "report tokens=1", "tokens_per_hour 1/0 pending",
            "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Account, Rule02AnUnsetLimitIsUnlimitedAndOneSetLaterFindsWhatTheWindowHasSeen) {
  Play(With("", kHard, kSuspend),
       {
           {"0s", "report tokens=500", "ok"},
           {"1m", "set tokens_per_hour=1000", "ok", "updated tokens_per_hour 1000"},
           {"2m", "report tokens=1", "tokens_per_hour 501/1000"},
           {"3m", "set tokens_per_hour=none", "ok", "updated tokens_per_hour none"},
           {"4m", "report tokens=9999", "tokens_per_hour 10500/none"},
       });
}

TEST(Account, Rule03AReportAlwaysCountsAlsoWhileSuspended) {
  Play(With("tokens_per_hour=10", kHard, kSuspend),
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

TEST(Account, Rule04BadAmountsAreRefusedWholeAndNothingIsRecorded) {
  Account account(ConfigOf("tokens_per_hour=100 memory=100"), Time{});
  struct BadRow {
    const char* why;
    Resource resource;
    std::int64_t already, amount;
    const char* field;
  };
  const BadRow rows[] = {
      {"negative", Resource::kTokens, 0, -1, "tokens: "},
      {"most negative", Resource::kTokens, 0, -kMax - 1, "tokens: "},
      {"a negative level", Resource::kMemory, 0, -1, "memory: "},
      {"overflow by one", Resource::kTokens, 1, kMax, "tokens: "},
      {"overflow of a resource without a limit", Resource::kCost, kMax, 1, "cost: "},
      {"overflow of a rate without a limit", Resource::kRequests, kMax, 1, "requests: "},
      {"overflow of the lifetime alone", Resource::kCpu, kMax, 1, "cpu: "},
  };
  for (const BadRow& row : rows) {
    SCOPED_TRACE(row.why);
    Amounts before;
    before[row.resource] = row.already;
    ASSERT_TRUE(account.Report(before, Source::kReported, Time{}).has_value());
    const std::int64_t total = account.lifetime(row.resource);
    account.TakeEvents();

    Amounts bad;  // a good amount of every resource beside the bad one
    for (auto& amount : bad.by_resource) amount = 0;
    bad[Resource::kGpuMemory] = 7;
    bad[row.resource] = row.amount;
    const auto refused = account.Report(bad, Source::kReported, Time{});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(refused.error().message.find(row.field), 0u) << refused.error().message;
    EXPECT_EQ(account.lifetime(row.resource), total);
    EXPECT_EQ(account.lifetime(Resource::kGpuMemory), 0);
    EXPECT_TRUE(account.TakeEvents().empty());
  }
}

TEST(Account, Rule04TheLargestAmountsAreCounted) {
  Account account(ConfigOf("memory=100"), Time{});
  Amounts most;
  for (auto& amount : most.by_resource) amount = kMax;
  ASSERT_TRUE(account.Report(most, Source::kReported, Time{}).has_value());
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    EXPECT_EQ(account.lifetime(static_cast<Resource>(i)), kMax);
  }
  // A level can be set to it again and again.
  Amounts level;
  level[Resource::kMemory] = kMax;
  EXPECT_TRUE(account.Report(level, Source::kReported, Time{}).has_value());
}

TEST(Account, Rule05CoresAreKeptAndShownButSecondsAreNotHeldAgainstThem) {
  const auto account =
      Play(With("cpu=2", kHard, kSuspend), {
                                               {"0s", "sample cpu=2", "ok"},
                                               {"1s", "sample cpu=100", "ok"},
                                               {"2s", "set cpu=500m", "ok", "updated cpu 0.5"},
                                           });
  EXPECT_EQ(account->lifetime(Resource::kCpu), 102'000'000'000);
  ASSERT_EQ(account->usage().size(), 1u);
  EXPECT_EQ(account->usage()[0].limit.text, "500m");
  EXPECT_EQ(account->usage()[0].used, 0);
  EXPECT_FALSE(account->NextDeadline().has_value());
}

TEST(Account, Rule05SecondsOfCpuAreAPlainBudget) {
  Play(With("cpu=2 cpu_seconds_per_hour=10", kHard, kSuspend),
       {
           {"0s", "sample cpu=7.5", "cpu_seconds_per_hour 7.5/10"},
           {"1s", "sample cpu=2.5", "cpu_seconds_per_hour 10/10",
            "threshold 80% cpu_seconds_per_hour; threshold 95% cpu_seconds_per_hour"},
           {"2s", "sample cpu=1n", "cpu_seconds_per_hour 10.000000001/10 pending",
            "violation cpu_seconds_per_hour; suspended cpu_seconds_per_hour",
            "cpu_seconds_per_hour"},
       });
}

TEST(Account, Rule07WindowsEndOnTimeAlsoWhenNothingIsCharged) {
  Play(With("tokens_per_hour=100", kHard, kSuspend),
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

TEST(Account, Rule07EachLimitHasItsOwnWindow) {
  Play(With("tokens_per_hour=100 tokens_per_day=150", kHard, kSuspend),
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

TEST(Account, Rule07TheMainWindowReplacesTheHourlyOnes) {
  AccountConfig config =
      With("tokens_per_hour=10 cpu_seconds_per_hour=1 cost_per_day=1", kHard, kSuspend);
  config.main_window = seconds(60);
  const auto account = Play(config, {{"59s", "report tokens=1", "tokens_per_hour 1/10"},
                                     {"60s", "advance", "ok",
                                      "window_rolled cpu_seconds_per_hour 0 x1; "
                                      "window_rolled tokens_per_hour 1 x1"}});
  const std::vector<LimitUsage> usage = account->usage();
  ASSERT_EQ(usage.size(), 3u);
  EXPECT_EQ(*usage[0].reset_at, Time(hours(1000) + seconds(120)));
  EXPECT_EQ(*usage[1].reset_at, Time(hours(1000) + seconds(120)));
  EXPECT_EQ(*usage[2].reset_at, Time(hours(1024)));
  EXPECT_EQ(account->NextDeadline(), Time(hours(1000) + seconds(120)));
}

TEST(Account, Rule08ResetZeroesTheWindowStartsANewOneAndLeavesTheLifetime) {
  const auto account =
      Play(With("tokens_per_hour=100 memory=1000", kSoftThenHard, kSuspend),
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
  EXPECT_EQ(account->lifetime(Resource::kTokens), 203);
  EXPECT_EQ(account->lifetime(Resource::kMemory), 500);  // the highest level ever
  EXPECT_EQ(account->peak(Resource::kMemory), 200);      // since the reset
}

TEST(Account, Rule08ResetLeavesTheOperatorsCause) {
  Play(With("tokens_per_hour=0", kHard, kSuspend),
       {
           {"0s", "suspend", "ok", "suspended", "operator"},
           {"0s", "report tokens=1", "tokens_per_hour 1/0",
            "violation tokens_per_hour; suspended tokens_per_hour", "operator, tokens_per_hour"},
           {"1s", "reset", "ok", "reset", "operator"},
           {"2s", "resume", "ok", "resumed"},
       });
}

TEST(Account, Rule09CrossingsAreEdges) {
  Play(With("memory=1000", kWarnOnly, kWarn),
       {
           {"0s", "report memory=799", "memory 799/1000"},
           {"0s", "report memory=800", "memory 800/1000", "threshold 80% memory"},
           {"0s", "report memory=900", "memory 900/1000"},
           {"0s", "report memory=751", "memory 751/1000"},  // not 5 points below
           {"0s", "report memory=800", "memory 800/1000"},
           {"0s", "report memory=750", "memory 750/1000"},  // re-arms
           {"0s", "report memory=800", "memory 800/1000", "threshold 80% memory"},
           {"0s", "report memory=0", "memory 0/1000"},
           {"0s", "report memory=5000", "memory 5000/1000",
            "threshold 80% memory; threshold 95% memory; violation memory; warned memory"},
       });
}

TEST(Account, Rule09FlowsRearmWhenTheirWindowRolls) {
  Play(With("tokens_per_hour=10", kWarnOnly, kWarn),
       {
           {"0s", "report tokens=8", "tokens_per_hour 8/10", "threshold 80% tokens_per_hour"},
           {"1s", "report tokens=1", "tokens_per_hour 9/10"},
           {"1h", "report tokens=8", "tokens_per_hour 8/10",
            "window_rolled tokens_per_hour 9 x1; threshold 80% tokens_per_hour"},
       });
}

TEST(Account, Rule09OnlyResourcesThatAReportNamesAreLookedAt) {
  Play(With("tokens_per_hour=10 memory=100", kSoftThenHard, kSuspend),
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; warned tokens_per_hour"},
           {"1s", "report memory=1", "memory 1/100"},
           {"2s", "report tokens=0", "tokens_per_hour 11/10"},  // nothing used, nothing charged
           {"3s", "report memory=2 tokens=1", "memory 2/100, tokens_per_hour 12/10 pending",
            "suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Account, Rule09TheThresholdsCanBeChosen) {
  AccountConfig config = With("tokens_per_hour=100", kWarnOnly, kWarn);
  config.thresholds = {1, 50, 99};
  Play(config,
       {
           {"0s", "report tokens=1", "tokens_per_hour 1/100", "threshold 1% tokens_per_hour"},
           {"0s", "report tokens=98", "tokens_per_hour 99/100",
            "threshold 50% tokens_per_hour; threshold 99% tokens_per_hour"},
       });
  config.thresholds = {};
  Play(config, {{"0s", "report tokens=100", "tokens_per_hour 100/100"}});
}

TEST(Account, Rule10SoftThenHardWarnsOnceAndActsOnTheNextViolatingCharge) {
  Play(ConfigOf("tokens_per_hour=1000"),  // the default policy of tokens
       {
           {"0s", "report tokens=900", "tokens_per_hour 900/1000", "threshold 80% tokens_per_hour"},
           {"1s", "report tokens=200", "tokens_per_hour 1100/1000",
            "threshold 95% tokens_per_hour; violation tokens_per_hour; warned tokens_per_hour"},
           {"2s", "report tokens=200", "tokens_per_hour 1300/1000 pending",
            "suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(Account, Rule10SampledUsageGetsFiveSecondsAfterTheWarning) {
  Play(With("memory=100", kSoftThenHard, kSuspend),
       {
           {"10s", "sample memory=101", "memory 101/100",
            "threshold 80% memory; threshold 95% memory; violation memory; warned memory"},
           {"11s", "sample memory=101", "memory 101/100"},
           {"14.999999999s", "sample memory=300", "memory 300/100"},
           {"15s", "sample memory=101", "memory 101/100 pending", "suspended memory", "memory"},
       });
}

TEST(Account, Rule10WarnOnlyWarnsOncePerWindow) {
  Play(With("tokens_per_hour=10", kWarnOnly, kTerminate),
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; warned tokens_per_hour"},
           {"1s", "report tokens=11", "tokens_per_hour 22/10"},
           {"1h", "report tokens=11", "tokens_per_hour 11/10",
            "window_rolled tokens_per_hour 22 x1; threshold 80% tokens_per_hour; "
            "threshold 95% tokens_per_hour; violation tokens_per_hour; warned tokens_per_hour"},
       });
}

TEST(Account, Rule10EachActionIsAskedForOncePerViolation) {
  struct Action {
    QuotaAction action;
    const char* answer;
    const char* event;
    const char* causes;
  };
  const Action actions[] = {
      {kWarn, "tokens_per_hour 1/0", "violation tokens_per_hour; warned tokens_per_hour", ""},
      {kThrottle, "tokens_per_hour 1/0 pending",
       "violation tokens_per_hour; throttled tokens_per_hour", "throttle: tokens_per_hour"},
      {kSuspend, "tokens_per_hour 1/0 pending",
       "violation tokens_per_hour; suspended tokens_per_hour", "tokens_per_hour"},
      {kTerminate, "tokens_per_hour 1/0 pending",
       "violation tokens_per_hour; terminated tokens_per_hour", "end: tokens_per_hour"},
  };
  for (const Action& one : actions) {
    SCOPED_TRACE(one.event);
    Play(With("tokens_per_hour=0", kHard, one.action),
         {
             {"0s", "report tokens=1", one.answer, one.event, one.causes},
             {"0s", "report tokens=1", "tokens_per_hour 2/0", "", one.causes},
             {"9s", "report tokens=1", "tokens_per_hour 3/0", "", one.causes},
         });
  }
}

TEST(Account, Rule10TheEndIsAskedForOnceAndKept) {
  Play(With("tokens_per_hour=0 memory=0", kHard, kTerminate),
       {
           {"0s", "report tokens=1", "tokens_per_hour 1/0 pending",
            "violation tokens_per_hour; terminated tokens_per_hour", "end: tokens_per_hour"},
           {"1s", "report memory=1", "memory 1/0", "violation memory", "end: tokens_per_hour"},
           {"2s", "set tokens_per_hour=10", "ok", "updated tokens_per_hour 10",
            "end: tokens_per_hour"},
           {"1h", "reset", "ok", "window_rolled tokens_per_hour 1 x1; reset",
            "end: tokens_per_hour"},
       });
}

TEST(Account, Rule11ALimitSetBelowWhatIsUsedCountsAsOneViolatingCharge) {
  Play(
      With("tokens_per_hour=1000", kSoftThenHard, kSuspend),
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

TEST(Account, Rule11RaisingRemovesTheCausesOfThatLimitAndOnlyThose) {
  Play(With("tokens_per_hour=10 tokens_per_day=20", kHard, kSuspend),
       {
           {"0s", "report tokens=21", "tokens_per_hour 21/10, tokens_per_day 21/20 pending",
            "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
            "violation tokens_per_hour; suspended tokens_per_hour; threshold 80% tokens_per_day; "
            "threshold 95% tokens_per_day; violation tokens_per_day; suspended tokens_per_day",
            "tokens_per_hour, tokens_per_day"},
           {"1s", "suspend", "ok", "suspended", "operator, tokens_per_hour, tokens_per_day"},
           {"2s", "set tokens_per_hour=100", "ok", "updated tokens_per_hour 100",
            "operator, tokens_per_day"},
           {"3s", "resume", "E2072 still", "", "tokens_per_day"},
           {"4s", "set tokens_per_day=none", "ok",
            "updated tokens_per_day none; resumed tokens_per_day"},
       });
}

TEST(Account, Rule11ARaiseThatIsNotEnoughIsAViolatingChargeAgain) {
  Play(With("tokens_per_hour=10", kHard, kSuspend),
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

TEST(Account, Rule11RaisingKeepsTheWarningOfTheWindow) {
  Play(ConfigOf("tokens_per_hour=10"),
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

TEST(Account, Rule11NegativeLimitsChangeNothing) {
  Account account(ConfigOf("tokens_per_hour=10 memory=10"), Time{});
  ResourceLimits limits;
  limits[LimitKind::kMemory] = Limit{20, "20"};
  limits[LimitKind::kTokensPerHour] = Limit{-1, "-1"};
  const auto refused = account.SetLimits(limits, Time{});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().message.find("tokens_per_hour: "), 0u);
  EXPECT_EQ(account.usage()[0].limit.amount, 10);
  EXPECT_TRUE(account.TakeEvents().empty());
}

TEST(Account, Rule12TheOperatorsCause) {
  Play(With("tokens_per_hour=10", kHard, kSuspend),
       {
           {"0s", "resume", "ok"},
           {"0s", "suspend", "ok", "suspended", "operator"},
           {"1s", "suspend", "ok", "", "operator"},
           {"2s", "resume", "ok", "resumed"},
       });
}

TEST(Account, Rule12OverrideLiftsUntilTheNextWindowOrRaise) {
  const char* violated =
      "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; violation tokens_per_hour; "
      "suspended tokens_per_hour";
  Play(With("tokens_per_hour=10", kHard, kSuspend),
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10 pending", violated, "tokens_per_hour"},
           {"1s", "suspend", "ok", "suspended", "operator, tokens_per_hour"},
           {"2s", "resume", "E2072 still", "", "tokens_per_hour"},
           {"3s", "override", "ok", "resumed tokens_per_hour"},
           {"4s", "report tokens=100", "tokens_per_hour 111/10"},
           {"5s", "set tokens_per_hour=5", "ok", "updated tokens_per_hour 5"},
           {"6s", "set tokens_per_hour=6", "ok",
            "updated tokens_per_hour 6; suspended tokens_per_hour", "tokens_per_hour"},
           {"7s", "suspend", "ok", "suspended", "operator, tokens_per_hour"},
           {"8s", "override", "ok", "resumed"},
           {"1h", "report tokens=7", "tokens_per_hour 7/6 pending",
            ("window_rolled tokens_per_hour 111 x1; " + std::string(violated)).c_str(),
            "tokens_per_hour"},
       });
}

TEST(Account, Rule13AReportSetsTheLevelAndTheViolationEndsWhenItIsWithinTheLimit) {
  const auto account =
      Play(With("memory=100", kHard, kSuspend),
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
  EXPECT_EQ(account->peak(Resource::kMemory), 101);
  EXPECT_EQ(account->usage()[0].peak, 101);
  EXPECT_EQ(account->lifetime(Resource::kMemory), 101);
}

TEST(Account, Rule16AReportedRateIsHeldByItsPolicyUntilItHasDrained) {
  Play(With("requests_per_minute=60", kHard, kSuspend),
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

TEST(Account, Rule16ARateOfZeroNeverDrains) {
  const auto account = Play(
      With("requests_per_minute=0", kHard, kSuspend),
      {
          {"0s", "report requests=0", "requests_per_minute 0/0"},
          {"0s", "report requests=1", "requests_per_minute 1/0 pending",
           "violation requests_per_minute; suspended requests_per_minute", "requests_per_minute"},
          {"99h", "advance", "ok", "", "requests_per_minute"},
      });
  EXPECT_FALSE(account->NextDeadline().has_value());
}

TEST(Account, NextDeadlineIsTheNextWindowOrTheEndOfAnExceededRate) {
  Account account(With("requests_per_minute=7 tokens_per_hour=10", kHard, kThrottle), Time{});
  EXPECT_EQ(account.NextDeadline(), Time(hours(1)));
  ASSERT_TRUE(account.Report(AmountsOf("requests=8"), Source::kReported, Time{}).has_value());
  EXPECT_TRUE(account.wants().throttle);
  // One request drains in 60 s / 7, a fraction of a nanosecond more than 8571428571 ns.
  EXPECT_EQ(account.NextDeadline(), Time(Duration(8'571'428'572)));
  account.Advance(Time(Duration(8'571'428'571)));
  EXPECT_TRUE(account.wants().throttle);
  account.Advance(Time(Duration(8'571'428'572)));
  EXPECT_FALSE(account.wants().throttle);
  EXPECT_EQ(account.NextDeadline(), Time(hours(1)));
}

TEST(Account, ATimeInThePastCountsAsTheLastOne) {
  Account account(ConfigOf("tokens_per_hour=10"), Time(hours(5)));
  ASSERT_TRUE(account.Report(AmountsOf("tokens=9"), Source::kReported, Time{}).has_value());
  const std::vector<Event> events = account.TakeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].time, Time(hours(5)));
  EXPECT_EQ(account.usage()[0].used, 9);
  EXPECT_EQ(account.NextDeadline(), Time(hours(6)));
}

TEST(Account, EveryEventHasItsName) {
  EXPECT_EQ(NameOf(EventKind::kThreshold), "threshold");
  EXPECT_EQ(NameOf(EventKind::kWindowRolled), "window_rolled");
  EXPECT_EQ(NameOf(EventKind::kSettledAboveHold), "settled_above_hold");
}

}  // namespace
}  // namespace mete
