#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using std::chrono::seconds;
using enum EnforcementMode;
using enum QuotaAction;

const TargetName kSession{QuotaScope::kSession, "s"};

QuotaOptions Below(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

// "suspend a for tokens_per_hour of session s"; "(2)" behind: a second attempt.
std::string TextOf(const Intent& intent) {
  std::string text = std::string(NameOf(intent.verb)) + " " + intent.target.id;
  if (intent.limit) text += " for " + std::string(InfoOf(*intent.limit).name);
  if (intent.account != intent.target) text += " of " + intent.account.ToString();
  if (intent.attempt > 1) text += " (" + std::to_string(intent.attempt) + ")";
  return text;
}

// Those that are to be done now; each is finished with this result.
std::string CarryOut(World& world, const Result<void>& result = {}) {
  std::string text;
  for (const Intent& intent : world->TakeIntents()) {
    text += (text.empty() ? "" : ", ") + TextOf(intent);
    world->FinishIntent(intent, result);
  }
  return text;
}

const Result<void> kFailed = Fail(ErrorCode::kSuspendFailed, "still running");

TEST(Intents, AnActionIsAskedForOnceAndUndoneWhenItsCauseEnds) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=1")));
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  EXPECT_EQ(CarryOut(world), "suspend a for tokens_per_hour");
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->Suspend("a"));
  EXPECT_EQ(CarryOut(world), "");  // it is
  ASSERT_TRUE(world->ResetQuota("a"));
  EXPECT_EQ(CarryOut(world), "");  // the operator's cause is left
  ASSERT_TRUE(world->Resume("a"));
  EXPECT_EQ(CarryOut(world), "resume a");
  EXPECT_EQ(CarryOut(world), "");
}

TEST(Intents, WhatIsNoLongerAskedForIsNotGivenOut) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a"));
  ASSERT_TRUE(world->Suspend("a"));
  ASSERT_TRUE(world->Resume("a"));
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->Suspend("a"));
  ASSERT_TRUE(world->CleanupQuota("a"));
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->CreateQuota("a"));
  EXPECT_EQ(CarryOut(world), "");
}

TEST(Intents, EachIsGivenOutOnceUntilItIsFinished) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a"));
  ASSERT_TRUE(world->CreateQuota("b"));
  ASSERT_TRUE(world->Suspend("a"));
  ASSERT_TRUE(world->Suspend("b"));
  const std::vector<Intent> first = world->TakeIntents(1);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(TextOf(first[0]), "suspend a");
  EXPECT_TRUE(world->TakeIntents(0).empty());
  const std::vector<Intent> second = world->TakeIntents();
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(TextOf(second[0]), "suspend b");
  // What is asked for meanwhile comes when it is finished.
  ASSERT_TRUE(world->Resume("a"));
  EXPECT_TRUE(world->TakeIntents().empty());
  world->FinishIntent(first[0], {});
  EXPECT_EQ(CarryOut(world), "resume a");
  world->FinishIntent(first[0], {});  // known already
  EXPECT_EQ(CarryOut(world), "");
  // Its account is gone, and another one has its name.
  ASSERT_TRUE(world->CleanupQuota("b"));
  ASSERT_TRUE(world->CreateQuota("b"));
  world->FinishIntent(second[0], {});
  ASSERT_TRUE(world->Suspend("b"));
  EXPECT_EQ(CarryOut(world), "suspend b");
}

TEST(Intents, Rule12ActionsAboveAreCarriedOutOnEveryAgentBelow) {
  World world(With(kHard, kSuspend));
  const TargetName tenant{QuotaScope::kTenant, "t"};
  ASSERT_TRUE(world->CreateQuota(tenant));
  ASSERT_TRUE(world->CreateQuota(kSession, LimitsOf("tokens_per_hour=1"), Below(tenant)));
  ASSERT_TRUE(world->CreateQuota("a", {}, Below(kSession)));
  ASSERT_TRUE(world->CreateQuota("b", {}, Below(kSession)));
  ASSERT_TRUE(world->CreateQuota("c", {}, Below(tenant)));
  ASSERT_TRUE(world->ReportUsage("b", AmountsOf("tokens=2")));
  EXPECT_EQ(
      CarryOut(world),
      "suspend a for tokens_per_hour of session s, suspend b for tokens_per_hour of session s");
  ASSERT_TRUE(world->CreateQuota("d", {}, Below(kSession)));
  EXPECT_EQ(CarryOut(world), "suspend d for tokens_per_hour of session s");
  ASSERT_TRUE(world->Resume("a", true));
  EXPECT_EQ(CarryOut(world), "resume a");
  ASSERT_TRUE(world->Terminate(tenant));
  EXPECT_EQ(CarryOut(world),
            "terminate a of tenant t, terminate b of tenant t, terminate d of tenant t, "
            "terminate c of tenant t");
  ASSERT_TRUE(world->UpdateQuota(kSession, LimitsOf("tokens_per_hour=none")));
  EXPECT_EQ(CarryOut(world), "");  // nothing comes after the end
}

TEST(Intents, TheEndComesBeforeEverythingAndSuspensionBeforeThrottling) {
  World world(With(kHard, kSuspend));
  QuotaOptions options;
  options.policies[static_cast<std::size_t>(Resource::kMemory)] = Policy{kHard, kThrottle};
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("memory=1"), options));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("memory=2")));
  ASSERT_TRUE(world->Suspend("a"));
  EXPECT_EQ(CarryOut(world), "suspend a");
  EXPECT_EQ(CarryOut(world), "throttle a for memory");
  ASSERT_TRUE(world->Resume("a"));
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("memory=1")));
  EXPECT_EQ(CarryOut(world), "resume a");
  EXPECT_EQ(CarryOut(world), "clear_throttle a");
  ASSERT_TRUE(world->Suspend("a"));
  ASSERT_TRUE(world->Terminate("a"));
  EXPECT_EQ(CarryOut(world), "terminate a");
  EXPECT_EQ(CarryOut(world), "");
}

TEST(Intents, AnEndThatIsNoLongerAskedForMayBeAskedForAgain) {
  World world(With(kHard, kTerminate));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=0")));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
    EXPECT_EQ(CarryOut(world), "terminate a for tokens_per_hour");
    EXPECT_EQ(CarryOut(world), "");
    ASSERT_TRUE(world->ResetQuota("a"));
    EXPECT_EQ(CarryOut(world), "");
  }
}

TEST(Intents, AnActionThatFailsIsToldOfAndTriedAgainLaterAndLater) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a"));
  ASSERT_TRUE(world->Suspend("a"));
  EventReader events = world->Events();
  Duration at{0};
  int attempt = 0;
  for (const int pause : {1, 2, 4, 8, 16, 32, 60, 60, 60}) {
    SCOPED_TRACE(pause);
    ++attempt;
    const std::string expected =
        "suspend a" + (attempt == 1 ? "" : " (" + std::to_string(attempt) + ")");
    EXPECT_EQ(CarryOut(world, kFailed), expected);
    EXPECT_EQ(CarryOut(world), "");
    const std::vector<Event> told = events.Take().events;
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, EventKind::kActionFailed);
    EXPECT_EQ(told[0].target.id, "a");
    EXPECT_EQ(told[0].detail, "suspend, tried again in " + FormatDuration(seconds(pause)) +
                                  ": E2074: still running");
    at += seconds(pause);
    world.MoveTo(at - Duration(1));
    world->Advance();
    EXPECT_EQ(CarryOut(world), "");
    EXPECT_LE(*world->NextDeadline(), world.at(at));
    world.MoveTo(at);
    world->Advance();
  }
  EXPECT_EQ(CarryOut(world), "suspend a (10)");
  // The next failure is the first one again.
  ASSERT_TRUE(world->Resume("a"));
  EXPECT_EQ(CarryOut(world, kFailed), "resume a");
  at += seconds(1);
  world.MoveTo(at);
  world->Advance();
  EXPECT_EQ(CarryOut(world), "resume a (2)");
}

// However often it is asked for while it waits.
TEST(Intents, NewCausesDoNotHurryWhatFailed) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota(kSession));
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("tokens_per_hour=0"), Below(kSession)));
  ASSERT_TRUE(world->Suspend("a"));
  EXPECT_EQ(CarryOut(world, kFailed), "suspend a");
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=1")));
  ASSERT_TRUE(world->Suspend(kSession));
  EXPECT_EQ(CarryOut(world, kFailed), "");
  world.MoveTo(seconds(1));
  world->Advance();
  EXPECT_EQ(CarryOut(world, kFailed), "suspend a (2)");
  EXPECT_EQ(CarryOut(world, kFailed), "");
  world.MoveTo(seconds(2));
  world->Advance();
  EXPECT_EQ(CarryOut(world, kFailed), "");
  world.MoveTo(seconds(3));
  world->Advance();
  EXPECT_EQ(CarryOut(world, kFailed), "suspend a (3)");
}

TEST(Intents, WhatIsAskedForInsteadDoesNotWait) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a"));
  ASSERT_TRUE(world->Suspend("a"));
  EXPECT_EQ(CarryOut(world, kFailed), "suspend a");
  ASSERT_TRUE(world->Terminate("a"));
  EXPECT_EQ(CarryOut(world), "terminate a");
  // Also what was asked for while it was being tried.
  ASSERT_TRUE(world->CreateQuota("b"));
  ASSERT_TRUE(world->Suspend("b"));
  const std::vector<Intent> taken = world->TakeIntents();
  ASSERT_EQ(taken.size(), 1u);
  ASSERT_TRUE(world->Terminate("b"));
  world->FinishIntent(taken[0], kFailed);
  EXPECT_EQ(CarryOut(world), "terminate b");
  // Nothing is left to be tried again.
  world.MoveTo(seconds(100));
  world->Advance();
  EXPECT_EQ(CarryOut(world), "");
}

// Who runs now was neither suspended nor failed to be.
TEST(Intents, WhoeverStartsAnewIsActedOnAnew) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota("a"));
  ASSERT_TRUE(world->Suspend("a"));
  EXPECT_EQ(CarryOut(world), "suspend a");
  ASSERT_TRUE(world->Attach("a", {}));
  EXPECT_EQ(CarryOut(world, kFailed), "suspend a");
  EXPECT_EQ(CarryOut(world), "");
  ASSERT_TRUE(world->Detach("a"));
  ASSERT_TRUE(world->Attach("a", {}));
  EXPECT_EQ(CarryOut(world), "suspend a");
  ASSERT_TRUE(world->Terminate("a"));
  EXPECT_EQ(CarryOut(world), "terminate a");
  ASSERT_TRUE(world->Attach("a", {}));
  EXPECT_EQ(CarryOut(world), "suspend a");
}

// What is said of the one that ran before says nothing of this one.
TEST(Intents, WhatWasBeingDoneToTheOneBeforeIsDoneAnew) {
  for (const bool failed : {false, true}) {
    World world(With(kHard, kSuspend));
    ASSERT_TRUE(world->CreateQuota("a"));
    ASSERT_TRUE(world->Attach("a", {}));
    ASSERT_TRUE(world->Suspend("a"));
    const std::vector<Intent> taken = world->TakeIntents();
    ASSERT_EQ(taken.size(), 1u);
    ASSERT_TRUE(world->Attach("a", {}));
    EXPECT_EQ(CarryOut(world), "");  // one at a time
    world.TakeEvents();
    world->FinishIntent(taken[0], failed ? kFailed : Result<void>());
    EXPECT_EQ(world.TakeEvents(), "");
    EXPECT_EQ(CarryOut(world), "suspend a");
    EXPECT_EQ(CarryOut(world), "");
  }
}

TEST(Intents, EveryVerbHasItsName) {
  EXPECT_EQ(NameOf(Verb::kSuspend), "suspend");
  EXPECT_EQ(NameOf(Verb::kResume), "resume");
  EXPECT_EQ(NameOf(Verb::kThrottle), "throttle");
  EXPECT_EQ(NameOf(Verb::kClearThrottle), "clear_throttle");
  EXPECT_EQ(NameOf(Verb::kTerminate), "terminate");
}

}  // namespace
}  // namespace mete
