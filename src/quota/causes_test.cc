#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "quota/rule_rows_test.h"

namespace mete {
namespace {

using enum EnforcementMode;
using enum QuotaAction;

TEST(Causes, Rule12TheOperatorsCause) {
  Play(With(kHard, kSuspend), "tokens_per_hour=10",
       {
           {"0s", "resume", "ok"},
           {"0s", "suspend", "ok", "suspended", "operator"},
           {"1s", "suspend", "ok", "", "operator"},
           {"2s", "resume", "ok", "resumed"},
       });
}

TEST(Causes, Rule12OverrideLiftsUntilTheNextWindowOrRaise) {
  const char* violated =
      "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; violation tokens_per_hour; "
      "suspended tokens_per_hour";
  Play(With(kHard, kSuspend), "tokens_per_hour=10",
       {
           {"0s", "report tokens=11", "tokens_per_hour 11/10 pending", violated, "tokens_per_hour"},
           {"1s", "suspend", "ok", "suspended", "operator, tokens_per_hour"},
           {"2s", "resume", "E2072 still suspended", "", "tokens_per_hour"},
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

constexpr const char* kEdges =
    "session s: threshold 80% tokens_per_hour; session s: threshold 95% tokens_per_hour; "
    "session s: violation tokens_per_hour; session s: suspended tokens_per_hour; ";

// A tenant t without limits, a session s of 10 tokens in it, agents a and b in that.
std::vector<Row> Family(std::vector<Row> rows) {
  rows.insert(rows.begin(), {
                                {"0s", "tenant t: create", "ok", "tenant t: created"},
                                {"0s", "session s: create under tenant t tokens_per_hour=10", "ok",
                                 "session s: created"},
                                {"0s", "create under session s", "ok", "created"},
                                {"0s", "b: create under session s", "ok", "b: created"},
                            });
  return rows;
}

TEST(Causes, Rule12WhatIsAboveActsBelowAlsoOnWhoComesLater) {
  const std::string edges = std::string(kEdges) +
                            "suspended tokens_per_hour of session s; "
                            "b: suspended tokens_per_hour of session s";
  Play(
      With(kHard, kSuspend),
      Family({
          {"1s", "report tokens=11", "pending", edges.c_str(), "tokens_per_hour of session s"},
          {"1s", "b: advance", "ok", "", "tokens_per_hour of session s"},
          {"1s", "session s: advance", "ok", "", "tokens_per_hour"},
          {"1s", "tenant t: advance", "ok"},
          {"2s", "c: create under session s", "ok",
           "c: created; c: suspended tokens_per_hour of session s", "tokens_per_hour of session s"},
          {"2s", "d: create under tenant t", "ok", "d: created"},
          {"3s", "c: resume", "E2072 still suspended", "", "tokens_per_hour of session s"},
          {"4s", "session s: set tokens_per_hour=20", "ok",
           "session s: updated tokens_per_hour 20; session s: resumed tokens_per_hour; "
           "resumed tokens_per_hour of session s; b: resumed tokens_per_hour of session s; "
           "c: resumed tokens_per_hour of session s"},
      }));
}

TEST(Causes, Rule12AnOverrideOnAnAgentLiftsACauseAboveForItAlone) {
  const std::string edges = std::string(kEdges) +
                            "suspended tokens_per_hour of session s; "
                            "b: suspended tokens_per_hour of session s";
  Play(With(kHard, kSuspend),
       Family({
           {"1s", "report tokens=11", "pending", edges.c_str(), "tokens_per_hour of session s"},
           {"2s", "override", "ok", "resumed tokens_per_hour of session s"},
           {"2s", "b: advance", "ok", "", "tokens_per_hour of session s"},
           {"3s", "report tokens=5", "ok"},
           {"4s", "session s: set tokens_per_hour=12", "ok",
            "session s: updated tokens_per_hour 12; session s: resumed tokens_per_hour; "
            "b: resumed tokens_per_hour of session s; session s: suspended tokens_per_hour; "
            "suspended tokens_per_hour of session s; b: suspended tokens_per_hour of session s",
            "tokens_per_hour"},
           {"5s", "override", "ok", "resumed tokens_per_hour of session s"},
           {"1h", "report tokens=13", "pending",
            "session s: window_rolled tokens_per_hour 16 x1; session s: resumed tokens_per_hour; "
            "b: resumed tokens_per_hour of session s; "
            "session s: threshold 80% tokens_per_hour; session s: threshold 95% tokens_per_hour; "
            "session s: violation tokens_per_hour; session s: suspended tokens_per_hour; "
            "suspended tokens_per_hour of session s; b: suspended tokens_per_hour of session s",
            "tokens_per_hour of session s"},
       }));
}

TEST(Causes, Rule12AnOverrideAboveFreesEveryoneBelow) {
  const std::string edges = std::string(kEdges) +
                            "suspended tokens_per_hour of session s; "
                            "b: suspended tokens_per_hour of session s";
  Play(With(kHard, kSuspend),
       Family({
           {"1s", "b: suspend", "ok", "b: suspended", "operator"},
           {"1s", "report tokens=11", "pending", edges.c_str(), "tokens_per_hour of session s"},
           {"2s", "session s: override", "ok",
            "session s: resumed tokens_per_hour; resumed tokens_per_hour of session s"},
           {"3s", "b: advance", "ok", "", "operator"},
           {"3s", "report tokens=5", "ok"},
           {"4s", "c: create under session s", "ok", "c: created"},
       }));
}

TEST(Causes, Rule12AnOperatorAboveSuspendsEveryoneBelowAndOnlyItCanBeUndoneThere) {
  Play(With(kHard, kSuspend),
       Family({
           {"1s", "tenant t: suspend", "ok",
            "tenant t: suspended; suspended operator of tenant t; "
            "b: suspended operator of tenant t",
            "operator"},
           {"1s", "tenant t: suspend", "ok", "", "operator"},
           {"2s", "resume", "E2072 still suspended", "", "operator of tenant t"},
           {"2s", "override", "E2072 still suspended", "", "operator of tenant t"},
           {"2s", "reserve tokens=1", "E2072 operator of tenant t", "", "operator of tenant t"},
           {"3s", "c: create under session s", "ok",
            "c: created; c: suspended operator of tenant t", "operator of tenant t"},
           {"3s", "suspend", "ok", "suspended", "operator, operator of tenant t"},
           {"4s", "tenant t: resume", "ok",
            "tenant t: resumed; b: resumed operator of tenant t; "
            "c: resumed operator of tenant t"},
           {"5s", "resume", "ok", "resumed"},
           {"6s", "report tokens=5", "ok"},
       }));
}

TEST(Causes, Rule12AnOperatorsEndLastsUntilTheTargetStartsAnew) {
  Play(With(kHard, kSuspend),
       Family({
           {"1s", "attach", "ok"},
           {"1s", "terminate", "ok", "terminated", "end: operator"},
           {"1s", "terminate", "ok", "", "end: operator"},
           {"2s", "resume", "E2072 still to be terminated", "", "end: operator"},
           {"2s", "reserve tokens=1", "E2072 operator of agent a", "", "end: operator"},
           {"2s", "report tokens=1", "ok", "", "end: operator"},
           {"3s", "detach", "ok", "", "end: operator"},
           {"4s", "attach", "ok"},
           {"4s", "reserve tokens=1", "hold 1"},
           {"5s", "session s: terminate", "ok",
            "session s: terminated; terminated operator of session s; "
            "b: terminated operator of session s",
            "end: operator"},
           {"6s", "c: create under session s", "ok",
            "c: created; c: terminated operator of session s", "end: operator of session s"},
       }));
}

TEST(Causes, Rule12ClearThrottleLiftsUntilTheNextWindowOrRaise) {
  const char* violated =
      "threshold 80% tokens_per_hour; threshold 95% tokens_per_hour; violation tokens_per_hour; "
      "throttled tokens_per_hour";
  Play(With(kHard, kThrottle), "tokens_per_hour=10",
       {
           {"0s", "clear_throttle", "ok"},
           {"1s", "report tokens=11", "tokens_per_hour 11/10 pending", violated,
            "throttle: tokens_per_hour"},
           {"1s", "resume", "ok", "", "throttle: tokens_per_hour"},
           {"2s", "clear_throttle", "ok", "resumed tokens_per_hour"},
           {"3s", "report tokens=1", "tokens_per_hour 12/10"},
           {"3s", "reserve tokens=1", "E2072 tokens_per_hour of agent a"},
           {"4s", "set tokens_per_hour=11", "ok",
            "updated tokens_per_hour 11; throttled tokens_per_hour", "throttle: tokens_per_hour"},
       });
}

// A suspended target keeps what throttles it, and the other way round.
TEST(Causes, Rule12EachActionHasItsOwnCauses) {
  World world(With(kHard, kSuspend));
  QuotaOptions options;
  options.policies[static_cast<std::size_t>(Resource::kMemory)] = Policy{kHard, kThrottle};
  ASSERT_TRUE(world->CreateQuota("a", LimitsOf("memory=1 tokens_per_hour=0"), options));
  world.TakeEvents();
  world.Play({
      {"0s", "report tokens=1 memory=2", "memory 2/1, tokens_per_hour 1/0 pending",
       "threshold 80% memory; threshold 95% memory; violation memory; throttled memory; "
       "violation tokens_per_hour; suspended tokens_per_hour",
       "tokens_per_hour; throttle: memory"},
      {"1s", "clear_throttle", "ok", "resumed memory", "tokens_per_hour"},
      {"2s", "override", "ok", "resumed tokens_per_hour"},
      {"1h", "advance", "ok", "window_rolled tokens_per_hour 1 x1"},
  });
}

TEST(Causes, Rule12NobodyIsToldOfATargetThatIsNotThere) {
  World world;
  EXPECT_EQ(world->Suspend("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Resume("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Terminate("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->IsThrottled("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->ClearThrottle("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Attach("a", {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(world->Detach("a").error().code, ErrorCode::kNotFound);
}

// The limit of an event about an account above is that account's.
TEST(Causes, Rule12EventsBelowCarryTheFiguresOfTheLimitAbove) {
  World world(With(kHard, kSuspend));
  ASSERT_TRUE(world->CreateQuota({QuotaScope::kSession, "s"}, LimitsOf("tokens_per_hour=10")));
  QuotaOptions below;
  below.parent = {QuotaScope::kSession, "s"};
  ASSERT_TRUE(world->CreateQuota("a", {}, below));
  EventReader reader = world->Events();
  ASSERT_TRUE(world->ReportUsage("a", AmountsOf("tokens=25")));
  ASSERT_TRUE(world->CreateQuota("b", {}, below));
  ASSERT_TRUE(world->Resume("b", true));
  int told = 0;
  for (const Event& event : reader.Take().events) {
    if (event.target.scope != QuotaScope::kAgent || event.kind == EventKind::kCreated) continue;
    ++told;
    EXPECT_EQ(event.account.ToString(), "session s");
    EXPECT_EQ(event.limit, LimitKind::kTokensPerHour);
    EXPECT_EQ(event.used, 25);
    EXPECT_EQ(event.amount, 10);
  }
  EXPECT_EQ(told, 3);
}

}  // namespace
}  // namespace mete
