#include "agent/agent.h"

#include <gtest/gtest.h>

#include "agent/test_agent.h"

namespace mete::agent {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Calls = std::vector<std::string>;

constexpr std::int64_t kMebi = 1 << 20;

Policy& PolicyOf(AgentConfig& config, Resource resource) {
  return config.policies[static_cast<std::size_t>(resource)];
}

TEST(Agent, IsWarnedSuspendedAndResumedWhenTheLimitIsRaised) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}}));
  agent.Tokens(900);
  EXPECT_EQ(agent.NewCalls(), Calls{});
  agent.Tokens(200);
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"warned: tokens_per_hour: 1100 of 1000 used"});
  agent.Tokens(200);
  EXPECT_EQ(agent->state(), State::kSuspended);
  EXPECT_EQ(agent->history().TakeNotices(),
            Calls{"suspended: tokens_per_hour: 1300 of 1000 used; until 14:00:00 UTC (in 1h), or "
                  "at once with: mete quota set " +
                  agent->id() + " --tokens-per-hour 2600"});
  EXPECT_EQ(agent.NewCalls(), Calls{"Freeze"});
  agent.Tokens(5);  // counted, and nothing is done twice
  EXPECT_EQ(agent.NewCalls(), Calls{});
  agent.clock.Advance(milliseconds(1500));
  ResourceLimits raised;
  raised[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "2k");
  ASSERT_TRUE(agent->SetLimits(raised));
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_EQ(agent.NewCalls(), (Calls{"SetLimits", "Thaw"}));
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"resumed after 1.5s"});
  ASSERT_EQ(agent->history().violations().size(), 1u);
  const Violation& violation = agent->history().violations()[0];
  ASSERT_EQ(violation.actions.size(), 3u);
  EXPECT_EQ(violation.actions[0].what, "warned");
  EXPECT_EQ(violation.actions[1].what, "suspended");
  EXPECT_EQ(violation.actions[2].what, "resumed");
}

TEST(Agent, IsResumedWhenTheWindowEnds) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "10"}}));
  agent.Tokens(11);
  agent.Tokens(1);
  ASSERT_EQ(agent->state(), State::kSuspended);
  EXPECT_LE(agent->NextDeadline().value(), agent.clock.Now() + hours(1));
  agent.Advance(hours(1) - Duration(1));
  EXPECT_EQ(agent->state(), State::kSuspended);
  agent.Advance(Duration(1));
  EXPECT_EQ(agent->state(), State::kRunning);
}

TEST(Agent, AtItsLimitIsLeftAlone) {
  AgentConfig config = TestConfig({{LimitKind::kTokensPerHour, "1000"}});
  PolicyOf(config, Resource::kTokens).mode = EnforcementMode::kHard;
  TestAgent agent(config);
  agent.Tokens(999);
  agent.Tokens(1);
  EXPECT_EQ(agent->state(), State::kRunning);
  agent.Tokens(1);
  EXPECT_EQ(agent->state(), State::kSuspended);
}

TEST(Agent, SuspendedTooLongIsTerminated) {
  AgentConfig config = TestConfig({{LimitKind::kTokensPerHour, "1"}});
  config.max_suspend = seconds(2);
  TestAgent agent(config);
  agent.Tokens(2);
  agent.Tokens(2);
  ASSERT_EQ(agent->state(), State::kSuspended);
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + seconds(2));
  agent.Advance(seconds(2) - Duration(1));
  EXPECT_FALSE(agent->ended());
  agent.NewCalls();
  agent.Advance(Duration(1));
  EXPECT_EQ(agent->ended().value().kind, EndCause::kMaxSuspend);
  EXPECT_EQ(agent->state(), State::kTerminating);
  EXPECT_EQ(agent.NewCalls(), (Calls{"Freeze", "SetCpuRate", "Signal", "Thaw"}));
  // What does not end within the grace is killed.
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + seconds(5));
  agent.Advance(seconds(5));
  EXPECT_EQ(agent.NewCalls(), Calls{"Kill"});
  EXPECT_EQ(agent->state(), State::kKilled);
  EXPECT_EQ(agent->history().violations()[0].actions.back().what, "terminated");
}

TEST(Agent, WithoutGraceIsKilledAtOnce) {
  AgentConfig config = TestConfig({{LimitKind::kTokensPerHour, "1"}});
  config.grace = Duration(0);
  PolicyOf(config, Resource::kTokens) = {EnforcementMode::kHard, QuotaAction::kTerminate};
  TestAgent agent(config);
  agent.Tokens(2);
  EXPECT_EQ(agent->ended().value().kind, EndCause::kLimit);
  EXPECT_EQ(agent->ended().value().limit, LimitKind::kTokensPerHour);
  EXPECT_EQ(agent.NewCalls(), Calls{"Kill"});
}

TEST(Agent, KeepsItsFirstEnd) {
  TestAgent agent(TestConfig());
  agent->End({EndCause::kOperator, std::nullopt});
  agent->End({EndCause::kMaxSuspend, std::nullopt});
  EXPECT_EQ(agent->ended().value().kind, EndCause::kOperator);
  agent->Reconcile();
  agent->Kill();
  agent->Reconcile();
  EXPECT_EQ(agent->ended().value().kind, EndCause::kOperator);
  EXPECT_EQ(agent->state(), State::kKilled);
}

TEST(Agent, ThrottledForItsCpuGoesDownInStepsAndBack) {
  AgentConfig config =
      TestConfig({{LimitKind::kCpu, "800m"}, {LimitKind::kCpuSecondsPerHour, "1"}});
  config.cores = 2;
  PolicyOf(config, Resource::kCpu).action = QuotaAction::kThrottle;
  TestAgent agent(config);
  agent.meters.cpu_ns = 1'000'000'001;
  agent.Advance(milliseconds(500));
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_TRUE(agent->quota().throttled);
  EXPECT_EQ(agent.NewCalls(), Calls{"SetCpuRate"});
  EXPECT_EQ(agent->history().TakeNotices(),
            (Calls{"throttled: cpu_seconds_per_hour: 1 s of 1 s used",
                   "throttled: cpu at 50 %, 0.4 cores"}));
  EXPECT_LE(agent->NextDeadline().value(), agent.clock.Now() + CpuThrottle::kStep);
  agent.Advance(2 * CpuThrottle::kStep);
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"throttled: cpu at 10 %, 0.08 cores"});
  // Raised: no longer a cause, and the rate ages back.
  ResourceLimits raised;
  raised[LimitKind::kCpuSecondsPerHour] = *ParseLimit(LimitKind::kCpuSecondsPerHour, "100");
  ASSERT_TRUE(agent->SetLimits(raised));
  agent->Reconcile();
  EXPECT_FALSE(agent->quota().throttled);
  EXPECT_EQ(agent->history().TakeNotices(),
            (Calls{"no longer throttled", "throttled: cpu at 25 %, 0.2 cores"}));
  agent.Advance(2 * CpuThrottle::kStep);
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"cpu at 100 % again"});
}

TEST(Agent, ClearedThrottleIsGoneAtOnce) {
  AgentConfig config = TestConfig({{LimitKind::kCpuSecondsPerHour, "1"}});
  PolicyOf(config, Resource::kCpu).action = QuotaAction::kThrottle;
  TestAgent agent(config);
  agent.meters.cpu_ns = 2'000'000'000;
  agent.Advance(seconds(1));
  ASSERT_TRUE(agent->quota().throttled);
  agent->history().TakeNotices();
  ASSERT_TRUE(agent->ClearThrottle());
  agent->Reconcile();
  EXPECT_FALSE(agent->quota().throttled);
  EXPECT_EQ(agent->history().TakeNotices(), (Calls{"no longer throttled", "cpu at 100 % again"}));
}

TEST(Agent, ThrottledForTokensKeepsItsCpu) {
  AgentConfig config = TestConfig({{LimitKind::kTokensPerHour, "10"}});
  PolicyOf(config, Resource::kTokens) = {EnforcementMode::kHard, QuotaAction::kThrottle};
  TestAgent agent(config);
  agent.Tokens(11);
  EXPECT_TRUE(agent->quota().throttled);
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_EQ(agent.NewCalls(), Calls{});
}

TEST(Agent, ThrottledForMemoryLosesCpuOnlyWhereTheKernelDoesNotSlowItDown) {
  for (const bool slows : {true, false}) {
    AgentConfig config = TestConfig({{LimitKind::kMemory, "64Mi"}});
    config.memory_slows = slows;
    PolicyOf(config, Resource::kMemory).action = QuotaAction::kThrottle;
    TestAgent agent(config);
    agent.meters.memory_bytes = 65 * kMebi;
    agent.Advance(milliseconds(100));
    EXPECT_TRUE(agent->quota().throttled);
    EXPECT_EQ(agent.NewCalls(), slows ? Calls{} : Calls{"SetCpuRate"});
    agent.meters.memory_bytes = 60 * kMebi;
    agent.Advance(milliseconds(100));
    EXPECT_FALSE(agent->quota().throttled) << "within its limit again";
  }
}

TEST(Agent, ThatCannotBeThrottledIsTriedAgain) {
  AgentConfig config = TestConfig({{LimitKind::kCpuSecondsPerHour, "1"}});
  PolicyOf(config, Resource::kCpu).action = QuotaAction::kThrottle;
  TestAgent agent(config);
  agent.host.FailNext(cgroup::FakeCall::kSetCpuRate, {ErrorCode::kSystem, "read-only"});
  agent.meters.cpu_ns = 2'000'000'000;
  agent.Advance(seconds(1));
  EXPECT_EQ(agent->history().TakeNotices().back(),
            "cannot throttle, tried again in 1s: E2099: read-only");
  EXPECT_LE(agent->NextDeadline().value(), agent.clock.Now() + seconds(1));
  agent.Advance(seconds(1));
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"throttled: cpu at 50 %, 0.5 cores"});
}

TEST(Agent, HasOneCoreAtMostInItsGrace) {
  EXPECT_EQ(GraceRate(1), 500'000'000);
  EXPECT_EQ(GraceRate(2), 1'000'000'000);
  EXPECT_EQ(GraceRate(64), 1'000'000'000);
  EXPECT_EQ(GraceRate(0), 500'000'000);
}

TEST(Agent, CpuSecondsAreSampledAtTheirDeadline) {
  AgentConfig config = TestConfig({{LimitKind::kCpuSecondsPerHour, "1"}});
  config.cores = 2;
  TestAgent agent(config);
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + milliseconds(500));
  agent.meters.cpu_ns = 900'000'000;
  agent.Advance(milliseconds(500));
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + milliseconds(50));
  agent.meters.cpu_ns = 1'000'000'000;
  agent.Advance(milliseconds(50));
  EXPECT_EQ(agent->state(), State::kRunning) << "at the limit is within it";
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + milliseconds(2));
  agent.meters.cpu_ns = 1'000'000'001;
  agent.Advance(milliseconds(2));
  EXPECT_EQ(agent->state(), State::kSuspended);
  EXPECT_EQ(agent->totals().cpu_ns, 1'000'000'001);
}

TEST(Agent, WithNothingToWatchSleepsUntilTheHourEnds) {
  TestAgent agent(TestConfig({{LimitKind::kCpu, "500m"}, {LimitKind::kMemory, "64Mi"}}));
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + hours(1));
  agent.Advance(hours(1));
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + hours(1));
}

TEST(Agent, KernelKillIsTheViolationOfTheMemoryLimit) {
  TestAgent agent(TestConfig({{LimitKind::kMemory, "64Mi"}}));
  agent.meters.memory_bytes = 64 * kMebi;
  agent.meters.oom_kills = 2;
  agent->OnGroupEvents();
  agent->Reconcile();
  ASSERT_TRUE(agent->ended());
  EXPECT_EQ(agent->ended()->limit, LimitKind::kMemory);
  ASSERT_EQ(agent->history().violations().size(), 1u);
  EXPECT_EQ(agent->history().violations()[0].used, 64 * kMebi);
  EXPECT_EQ(agent->history().TakeNotices(),
            (Calls{"killed by the kernel: memory: limit 64Mi reached",
                   "terminated: over the limit memory = 64Mi"}));
  agent.meters.oom_kills = 3;  // the kernel counts on while it ends the group
  agent->OnGroupEvents();
  const std::vector<ActionTaken>& actions = agent->history().violations().at(0).actions;
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[1].what, "terminated");
}

TEST(Agent, KernelKillFarBelowTheLimitIsNotItsDoing) {
  TestAgent agent(TestConfig({{LimitKind::kMemory, "64Mi"}}));
  agent.meters.memory_bytes = 20 * kMebi;
  agent.meters.oom_kills = 1;
  agent->OnGroupEvents();
  EXPECT_FALSE(agent->ended());
  TestAgent unlimited(TestConfig());
  unlimited.meters.oom_kills = 1;
  unlimited->OnGroupEvents();
  EXPECT_FALSE(unlimited->ended());
}

TEST(Agent, MemoryIsSuspendedWhereThatIsThePolicy) {
  AgentConfig config = TestConfig({{LimitKind::kMemory, "64Mi"}});
  PolicyOf(config, Resource::kMemory).action = QuotaAction::kSuspend;
  TestAgent agent(config);
  EXPECT_EQ(agent.host.LimitsOf(agent->id()).value().memory_max, 128 * kMebi);
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + milliseconds(100));
  agent.meters.memory_bytes = 64 * kMebi;
  agent->OnGroupEvents();
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kRunning);
  agent.meters.memory_bytes += 4096;
  agent->OnGroupEvents();
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kSuspended);
  const std::string text = agent->SuspensionText();
  EXPECT_NE(text.find("to go on: mete quota set " + agent->id() + " --memory 129Mi"),
            std::string::npos)
      << text;
}

TEST(Agent, MemoryThatOnlyWarnsIsWarnedOnce) {
  AgentConfig config = TestConfig({{LimitKind::kMemory, "64Mi"}});
  PolicyOf(config, Resource::kMemory) = {EnforcementMode::kWarnOnly, QuotaAction::kWarn};
  TestAgent agent(config);
  agent.meters.memory_bytes = 65 * kMebi;
  for (int i = 0; i < 3; ++i) agent.Advance(milliseconds(100));
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"warned: memory: 65 MiB of 64 MiB used"});
  EXPECT_EQ(agent.NewCalls(), Calls{});
}

TEST(Agent, MemoryLimitIsNotWrittenBelowWhatIsInUse) {
  AgentConfig config = TestConfig({{LimitKind::kMemory, "64Mi"}});
  TestAgent agent(config);
  agent.meters.memory_bytes = 40 * kMebi;
  ResourceLimits lower;
  lower[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "32Mi");
  ASSERT_TRUE(agent->SetLimits(lower));
  EXPECT_EQ(agent.host.LimitsOf(agent->id())->memory_max, 64 * kMebi);
  // The account knows the new limit, and its policy answers.
  agent->Reconcile();
  EXPECT_EQ(agent->ended().value().limit, LimitKind::kMemory);
  agent.meters.memory_bytes = 20 * kMebi;
  agent->Measure();
  EXPECT_EQ(agent.host.LimitsOf(agent->id())->memory_max, 32 * kMebi);
}

TEST(Agent, LimitsChangeAllOrNothing) {
  TestAgent agent(TestConfig({{LimitKind::kCpu, "500m"}, {LimitKind::kTokensPerHour, "10"}}));
  agent.host.FailNext(cgroup::FakeCall::kSetLimits, {ErrorCode::kSystem, "the kernel said no"});
  ResourceLimits limits;
  limits[LimitKind::kCpu] = *ParseLimit(LimitKind::kCpu, "1");
  limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "20");
  const Result<void> refused = agent->SetLimits(limits);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUpdateFailed);
  EXPECT_NE(refused.error().message.find("the kernel said no"), std::string::npos);
  EXPECT_EQ(agent->config().limits[LimitKind::kCpu]->text, "500m");
  EXPECT_EQ(agent.Usage().limit.amount, 10);

  ResourceLimits tiny;
  tiny[LimitKind::kMemory] = *ParseLimit(LimitKind::kMemory, "1Ki");
  EXPECT_FALSE(agent->SetLimits(tiny));
  ASSERT_TRUE(agent->SetLimits(limits));
  EXPECT_EQ(agent.host.LimitsOf(agent->id())->cpu_nanocores, 1'000'000'000);
  limits[LimitKind::kCpu] = Limit{};
  ASSERT_TRUE(agent->SetLimits(limits));
  EXPECT_FALSE(agent.host.LimitsOf(agent->id())->cpu_nanocores);
}

TEST(Agent, FailedSuspendIsToldAndTriedAgain) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1"}}));
  agent.host.FailNext(cgroup::FakeCall::kFreeze, {ErrorCode::kSuspendFailed, "stuck"}, 2);
  agent.Tokens(2);
  agent->history().TakeNotices();
  agent.Tokens(1);
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"failed, tried again in 1s: E2074: stuck"});
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + seconds(1));
  agent->Reconcile();
  EXPECT_TRUE(agent->history().TakeNotices().empty()) << "not before its time";
  agent.Advance(seconds(1));
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"failed, tried again in 2s: E2074: stuck"});
  agent.Advance(seconds(2));
  EXPECT_EQ(agent->state(), State::kSuspended);
}

TEST(Agent, FailedSuspendDoesNotHoldUpTheEnd) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1"}}));
  agent.host.FailNext(cgroup::FakeCall::kFreeze, {ErrorCode::kSuspendFailed, "stuck"}, 100);
  agent.Tokens(2);
  agent.Tokens(1);
  agent->End({EndCause::kOperator, std::nullopt});
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kTerminating) << "with the signal, though not frozen";
}

TEST(Agent, FailedKillIsTriedAgain) {
  TestAgent agent(TestConfig());
  agent.host.FailNext(cgroup::FakeCall::kKill, {ErrorCode::kTerminateFailed, "stuck"});
  agent->Kill();
  agent->Reconcile();
  EXPECT_NE(agent->state(), State::kKilled);
  agent.Advance(seconds(1));
  EXPECT_EQ(agent->state(), State::kKilled);
}

TEST(Agent, StandsStillWithItsTerminal) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1"}}));
  agent->Stop();
  agent->Continue();
  EXPECT_EQ(agent.NewCalls(), (Calls{"Freeze", "Thaw"}));
  agent.Tokens(2);
  agent.Tokens(2);
  agent.NewCalls();
  agent->Stop();
  agent->Continue();
  EXPECT_EQ(agent.NewCalls(), Calls{}) << "suspended it stays";
}

TEST(Agent, OperatorSuspendsAndResumes) {
  TestAgent agent(TestConfig());
  ASSERT_TRUE(agent->account().Suspend());
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kSuspended);
  EXPECT_EQ(agent->SuspensionText(),
            "suspended: by an operator; to go on: mete resume " + agent->id());
  ASSERT_TRUE(agent->account().Resume(false));
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kRunning);
  EXPECT_EQ(agent->SuspensionText(), "");
}

TEST(Agent, FinishTakesTheLastReadingAndRemovesTheGroup) {
  TestAgent agent(TestConfig());
  agent.meters.cpu_ns = 42;
  agent.meters.memory_bytes = 7 * kMebi;
  ASSERT_TRUE(agent->Finish());
  EXPECT_EQ(agent->sample().cpu_ns, 42);
  EXPECT_EQ(agent->sample().memory_peak_bytes, 7 * kMebi);
  EXPECT_FALSE(agent.host.Exists(agent->id()));
}

TEST(Agent, KernelKillThatShowsOnlyAtTheEndCounts) {
  TestAgent agent(TestConfig({{LimitKind::kMemory, "64Mi"}}));
  agent.meters.memory_bytes = 64 * kMebi;
  agent.meters.oom_kills = 1;
  ASSERT_TRUE(agent->Finish());
  EXPECT_EQ(agent->ended().value().limit, LimitKind::kMemory);
  const std::vector<ActionTaken>& actions = agent->history().violations().at(0).actions;
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].what, "killed by the kernel");
  EXPECT_EQ(actions[1].what, "terminated");
}

TEST(Agent, ThatEndedByItselfIsNotEndedByAPolicy) {
  AgentConfig config = TestConfig({{LimitKind::kTokensPerHour, "1"}});
  PolicyOf(config, Resource::kTokens) = {EnforcementMode::kHard, QuotaAction::kTerminate};
  TestAgent agent(config);
  ASSERT_TRUE(agent->Report(Amounts().Set(Resource::kTokens, 5)));
  ASSERT_TRUE(agent->Finish());
  EXPECT_FALSE(agent->ended());
  EXPECT_EQ(agent->history().violations().size(), 1u);
}

TEST(Agent, ReadingsNeverGoBack) {
  TestAgent agent(TestConfig());
  agent.meters.cpu_ns = 100;
  agent.meters.memory_bytes = 100;
  agent->Measure();
  agent.meters.cpu_ns = 0;  // a counter that vanished
  agent.meters.memory_bytes = 10;
  agent->Measure();
  EXPECT_EQ(agent->sample().cpu_ns, 100);
  EXPECT_EQ(agent->totals().cpu_ns, 100);
  EXPECT_EQ(agent->sample().memory_peak_bytes, 100);
  EXPECT_EQ(agent->sample().memory_bytes, 10);
}

TEST(Agent, UnreadableUsageIsToldOnce) {
  TestAgent agent(TestConfig());
  agent.host.FailNext(cgroup::FakeCall::kRead, {ErrorCode::kSystem, "gone"}, 3);
  for (int i = 0; i < 3; ++i) agent->Measure();
  EXPECT_EQ(agent->history().TakeNotices(), Calls{"usage cannot be read: E2099: gone"});
}

TEST(Agent, MeasuresNoOftenerThanAskedFor) {
  TestAgent agent(TestConfig());
  agent->Measure();
  agent.meters.cpu_ns = 5;
  agent->Measure(milliseconds(50));
  EXPECT_EQ(agent->sample().cpu_ns, 0);
  agent.clock.Advance(milliseconds(50));
  agent->Measure(milliseconds(50));
  EXPECT_EQ(agent->sample().cpu_ns, 5);
}

}  // namespace
}  // namespace mete::agent
