#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using enum EnforcementMode;
using enum QuotaAction;

TEST(PolicySteps, Rule09CrossingsAreEdges) {
  Play(With(kWarnOnly, kWarn), "memory=1000",
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

TEST(PolicySteps, Rule09FlowsRearmWhenTheirWindowRolls) {
  Play(With(kWarnOnly, kWarn), "tokens_per_hour=10",
       {
           {"0s", "report tokens=8", "tokens_per_hour 8/10", "threshold 80% tokens_per_hour"},
           {"1s", "report tokens=1", "tokens_per_hour 9/10"},
           {"1h", "report tokens=8", "tokens_per_hour 8/10",
            "window_rolled tokens_per_hour 9 x1; threshold 80% tokens_per_hour"},
       });
}

TEST(PolicySteps, Rule09OnlyResourcesThatAReportNamesAreLookedAt) {
  Play(With(kSoftThenHard, kSuspend), "tokens_per_hour=10 memory=100",
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

TEST(PolicySteps, Rule09TheThresholdsCanBeChosen) {
  ManagerConfig config = With(kWarnOnly, kWarn);
  config.thresholds = {1, 50, 99};
  Play(config, "tokens_per_hour=100",
       {
           {"0s", "report tokens=1", "tokens_per_hour 1/100", "threshold 1% tokens_per_hour"},
           {"0s", "report tokens=98", "tokens_per_hour 99/100",
            "threshold 50% tokens_per_hour; threshold 99% tokens_per_hour"},
       });
  config.thresholds = {};
  Play(config, "tokens_per_hour=100", {{"0s", "report tokens=100", "tokens_per_hour 100/100"}});
}

TEST(PolicySteps, Rule10SoftThenHardWarnsOnceAndActsOnTheNextViolatingCharge) {
  Play(Plain(), "tokens_per_hour=1000",  // the default policy of tokens
       {
           {"0s", "report tokens=900", "tokens_per_hour 900/1000", "threshold 80% tokens_per_hour"},
           {"1s", "report tokens=200", "tokens_per_hour 1100/1000",
            "threshold 95% tokens_per_hour; violation tokens_per_hour; warned tokens_per_hour"},
           {"2s", "report tokens=200", "tokens_per_hour 1300/1000 pending",
            "suspended tokens_per_hour", "tokens_per_hour"},
       });
}

TEST(PolicySteps, Rule10SampledUsageGetsFiveSecondsAfterTheWarning) {
  Play(With(kSoftThenHard, kSuspend), "memory=100",
       {
           {"10s", "sample memory=101", "memory 101/100",
            "threshold 80% memory; threshold 95% memory; violation memory; warned memory"},
           {"11s", "sample memory=101", "memory 101/100"},
           {"14.999999999s", "sample memory=300", "memory 300/100"},
           {"15s", "sample memory=101", "memory 101/100 pending", "suspended memory", "memory"},
       });
}

TEST(PolicySteps, Rule10WarnOnlyWarnsOncePerWindow) {
  Play(With(kWarnOnly, kTerminate), "tokens_per_hour=10",
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

TEST(PolicySteps, Rule10EachActionIsAskedForOncePerViolation) {
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
    Play(With(kHard, one.action), "tokens_per_hour=0",
         {
             {"0s", "report tokens=1", one.answer, one.event, one.causes},
             {"0s", "report tokens=1", "tokens_per_hour 2/0", "", one.causes},
             {"9s", "report tokens=1", "tokens_per_hour 3/0", "", one.causes},
         });
  }
}

// It ends as the others do: with its window, a raise or a reset.
TEST(PolicySteps, Rule10AnEndIsACauseLikeTheOthers) {
  const char* violated = "violation tokens_per_hour; terminated tokens_per_hour";
  Play(With(kHard, kTerminate), "tokens_per_hour=0 memory=0",
       {
           {"0s", "report tokens=1", "tokens_per_hour 1/0 pending", violated,
            "end: tokens_per_hour"},
           {"1s", "report memory=1", "memory 1/0", "violation memory; terminated memory",
            "end: memory, tokens_per_hour"},
           {"2s", "set tokens_per_hour=1", "ok",
            "updated tokens_per_hour 1; threshold 80% tokens_per_hour; "
            "threshold 95% tokens_per_hour",
            "end: memory"},
           {"3s", "report memory=0", "memory 0/0"},
           {"4s", "set tokens_per_hour=0", "ok",
            "updated tokens_per_hour 0; violation tokens_per_hour; terminated tokens_per_hour",
            "end: tokens_per_hour"},
           {"5s", "resume", "E2072 still to be terminated", "", "end: tokens_per_hour"},
           {"1h", "advance", "ok", "window_rolled tokens_per_hour 1 x1"},
           {"1h", "report tokens=1", "tokens_per_hour 1/0 pending", violated,
            "end: tokens_per_hour"},
           {"1h", "reset", "ok", "reset"},
       });
}

TEST(PolicySteps, Rule10TheWarningOfAnAccountGoesToEveryAgentBelow) {
  Play(Plain(),
       {
           {"0s", "tenant t: create tokens_per_hour=10", "ok", "tenant t: created"},
           {"0s", "session s: create under tenant t", "ok", "session s: created"},
           {"0s", "create under session s", "ok", "created"},
           {"0s", "b: create under tenant t", "ok", "b: created"},
           {"0s", "c: create", "ok", "c: created"},
           {"1s", "report tokens=11", "ok",
            "tenant t: threshold 80% tokens_per_hour; tenant t: threshold 95% tokens_per_hour; "
            "tenant t: violation tokens_per_hour; tenant t: warned tokens_per_hour; "
            "warned tokens_per_hour of tenant t; b: warned tokens_per_hour of tenant t"},
           {"2s", "b: report tokens=1", "pending",
            "tenant t: suspended tokens_per_hour; suspended tokens_per_hour of tenant t; "
            "b: suspended tokens_per_hour of tenant t",
            "tokens_per_hour of tenant t"},
           {"3s", "c: report tokens=1", "ok"},
           {"1h", "tenant t: advance", "ok",
            "tenant t: window_rolled tokens_per_hour 12 x1; tenant t: resumed tokens_per_hour; "
            "resumed tokens_per_hour of tenant t; b: resumed tokens_per_hour of tenant t"},
       });
}

TEST(PolicySteps, Rule10EachViolatedAccountHasItsOwnPolicyAndItsOwnFlag) {
  ManagerConfig config = With(kHard, kSuspend);
  World world(config);
  QuotaOptions soft;
  soft.policies[static_cast<std::size_t>(Resource::kTokens)] = Policy{kSoftThenHard, kThrottle};
  ASSERT_TRUE(
      world->CreateQuota({QuotaScope::kSession, "s"}, LimitsOf("tokens_per_hour=10"), soft));
  QuotaOptions below;
  below.parent = {QuotaScope::kSession, "s"};
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=10"), below));
  world.TakeEvents();
  world.Play({
      {"0s", "report tokens=10", "tokens_per_hour 10/10",
       "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; "
       "session s: threshold 80% tokens_per_hour; session s: threshold 95% tokens_per_hour"},
      {"1s", "report tokens=1", "tokens_per_hour 11/10 pending",
       "violation tokens_per_hour; suspended tokens_per_hour; "
       "session s: violation tokens_per_hour; session s: warned tokens_per_hour; "
       "warned tokens_per_hour of session s",
       "tokens_per_hour"},
      {"2s", "report tokens=1", "tokens_per_hour 12/10 pending",
       "session s: throttled tokens_per_hour; throttled tokens_per_hour of session s",
       "tokens_per_hour; throttle: tokens_per_hour of session s"},
      {"3s", "clear_throttle", "ok", "resumed tokens_per_hour of session s", "tokens_per_hour"},
      {"4s", "report tokens=1", "tokens_per_hour 13/10", "", "tokens_per_hour"},
  });
  EXPECT_EQ(world.Quota("a").policies[3].action, kSuspend);
  EXPECT_EQ(world.Quota({QuotaScope::kSession, "s"}).policies[3].action, kThrottle);
}

TEST(PolicySteps, Rule10AReportAndASampleHaveTheirOwnGrace) {
  ManagerConfig config = With(kSoftThenHard, kSuspend);
  config.soft_grace_reported = std::chrono::seconds(2);
  const char* warned =
      "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; violation tokens_per_hour; "
      "warned tokens_per_hour";
  Play(config, "tokens_per_hour=10",
       {
           {"1s", "report tokens=11", "tokens_per_hour 11/10", warned},
           {"2.999999999s", "report tokens=1", "tokens_per_hour 12/10"},
           {"3s", "sample tokens=1", "tokens_per_hour 13/10"},
           {"3s", "report tokens=1", "tokens_per_hour 14/10 pending", "suspended tokens_per_hour",
            "tokens_per_hour"},
       });
}

// Equal to the limit is no charge against it, and the warning is that of the window.
TEST(PolicySteps, Rule10TheWarningOfALevelLastsUntilItIsFivePointsBelow) {
  Play(With(kSoftThenHard, kSuspend), "memory=100",
       {
           {"0s", "report memory=101", "memory 101/100",
            "threshold 80% memory; threshold 95% memory; violation memory; warned memory"},
           {"0s", "report memory=96", "memory 96/100"},
           {"0s", "report memory=101", "memory 101/100 pending", "suspended memory", "memory"},
           {"0s", "report memory=96", "memory 96/100", "resumed memory"},
           {"0s", "report memory=101", "memory 101/100 pending", "suspended memory", "memory"},
           {"0s", "report memory=95", "memory 95/100", "resumed memory"},
           {"0s", "report memory=101", "memory 101/100", "violation memory; warned memory"},
       });
}

}  // namespace
}  // namespace mete
