#include "agent/levels.h"

#include <gtest/gtest.h>

#include "agent/account.h"
#include "agent/kernel_limits.h"
#include "agent/test_agent.h"

namespace mete::agent {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using Lines = std::vector<std::string>;

constexpr std::int64_t kMebi = 1 << 20;

ResourceLimits Limits(std::initializer_list<std::pair<LimitKind, const char*>> entries) {
  ResourceLimits limits;
  for (auto [kind, text] : entries) limits[kind] = *ParseLimit(kind, text);
  return limits;
}

QuotaOptions Below(const TargetName& parent) {
  QuotaOptions options;
  options.parent = parent;
  return options;
}

// An agent below tenant "t" and session "s", whose accounts others may change.
class Levels : public testing::Test {
 protected:
  Levels() {
    ManagerConfig settings;
    settings.default_limits = {};
    manager_ = *ResourceManager::Create(settings, clock_);
    EXPECT_TRUE(manager_->CreateQuota(kTenant, Limits({{LimitKind::kCpu, "800m"}})));
    EXPECT_TRUE(manager_->CreateQuota(kSession, {}, Below(kTenant)));
    EXPECT_TRUE(
        manager_->CreateQuota(kAgent, Limits({{LimitKind::kCpu, "500m"}}), Below(kSession)));
    host_.meter = [this](std::string_view, Sample& sample) { sample.memory_bytes = memory_; };
    host_.capabilities.cpu = host_.capabilities.memory = {Grade::kKernel, "a file"};
    auto account = *AttachShared(manager_, kAgent, true, "a folder");
    AgentConfig config;
    config.id = kAgent.id;
    config.limits = account->Quota().limits;
    config.policies = account->Quota().policies;
    config.host = host_.capabilities;
    PlaceBelow(*account->Above(), &config);
    const GroupId id{"t", "s", "a", 1};
    group_ = GroupNameOf(id);
    auto group =
        *CreateLeaf(host_, id, KernelLimitsOf(config.limits, config.policies, 4096), config.levels);
    agent_.emplace(std::move(config), std::move(group), clock_, std::move(account));
    watch_.emplace(host_, *agent_);
    Round();
  }

  void Change(const TargetName& target, const ResourceLimits& limits) {
    EXPECT_TRUE(manager_->UpdateQuota(target, limits));
  }
  // As the runner's loop does it; what was told.
  Lines Round() {
    agent_->Reconcile();
    watch_->Tend();
    return agent_->history().TakeNotices();
  }
  Lines RoundInTime() {
    clock_.Advance(LevelWatch::kInterval);
    return Round();
  }
  KernelLimits Held(const char* name) { return *host_.LimitsOf(name); }

  inline static const TargetName kTenant{QuotaScope::kTenant, "t"};
  inline static const TargetName kSession{QuotaScope::kSession, "s"};
  inline static const TargetName kAgent{QuotaScope::kAgent, "a"};

  VirtualClock clock_{Time(hours(10)), WallTime(std::chrono::seconds(1'772'370'000))};
  std::shared_ptr<ResourceManager> manager_;
  cgroup::FakeHost host_;
  std::int64_t memory_ = 0;
  std::string group_;
  std::optional<Agent> agent_;
  std::optional<LevelWatch> watch_;
};

TEST_F(Levels, AreHeldFromTheStart) {
  EXPECT_EQ(Held("t-t").cpu_nanocores, 800'000'000);
  EXPECT_EQ(Held("t-t/s-s").cpu_nanocores, std::nullopt);
  EXPECT_EQ(agent_->config().tenant, "t");
  EXPECT_EQ(agent_->config().session, "s");
}

TEST_F(Levels, WhatIsNotChangedIsNotWritten) {
  const Lines calls = host_.CallsOn("t-t");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(RoundInTime(), Lines{});
  EXPECT_EQ(host_.CallsOn("t-t"), calls);
}

TEST_F(Levels, AreWrittenWhenTheyChangeWithinTheInterval) {
  Change(kTenant, Limits({{LimitKind::kCpu, "200m"}, {LimitKind::kMemory, "64Mi"}}));
  Change(kSession, Limits({{LimitKind::kTokensPerHour, "10"}}));
  clock_.Advance(LevelWatch::kInterval - milliseconds(1));
  EXPECT_EQ(Round(), Lines{});
  EXPECT_EQ(watch_->NextDeadline(), clock_.Now() + milliseconds(1));
  clock_.Advance(milliseconds(1));
  EXPECT_EQ(Round(),
            (Lines{"limits of tenant t changed: cpu = 200m (kernel), memory = 64Mi (kernel)",
                   "limits of session s changed: tokens_per_hour = 10 (reported)"}));
  EXPECT_EQ(Held("t-t").cpu_nanocores, 200'000'000);
  EXPECT_EQ(Held("t-t").memory_max, 64 * kMebi + MemoryHeadroom(64 * kMebi));
  EXPECT_EQ(agent_->config().levels.tenant, Held("t-t"));
  EXPECT_EQ(host_.CallsOn(group_).back(), "SetLimits") << "a quota above may have lowered its own";
  EXPECT_EQ(RoundInTime(), Lines{}) << "once";
}

TEST_F(Levels, ALimitThatIsTakenAwayIsNotHeld) {
  ResourceLimits none;
  none[LimitKind::kCpu] = Limit{.amount = kUnlimited, .text = {}};
  Change(kTenant, none);
  EXPECT_EQ(RoundInTime(), Lines{"limits of tenant t changed: cpu = unlimited"});
  EXPECT_EQ(Held("t-t").cpu_nanocores, std::nullopt);
}

TEST_F(Levels, AMemoryLimitBelowTheUseWaitsAndTheOthersDoNot) {
  memory_ = 300 * kMebi;
  Change(kTenant, Limits({{LimitKind::kCpu, "200m"}, {LimitKind::kMemory, "64Mi"}}));
  const Lines told = RoundInTime();
  ASSERT_EQ(told.size(), 3u);
  EXPECT_TRUE(told[0].starts_with("suspended: memory of tenant t;")) << told[0];
  EXPECT_TRUE(told[2].starts_with("limits of tenant t not held yet: E2073: memory_max is below"))
      << told[2];
  EXPECT_EQ(Held("t-t").cpu_nanocores, 200'000'000);
  EXPECT_EQ(Held("t-t").memory_max, std::nullopt);
  EXPECT_EQ(RoundInTime(), Lines{}) << "told once";
  memory_ = 10 * kMebi;
  EXPECT_EQ(RoundInTime(), Lines{});
  EXPECT_EQ(Held("t-t").memory_max, 64 * kMebi + MemoryHeadroom(64 * kMebi));
}

TEST_F(Levels, WhatCannotBeHeldIsToldOnceAndTriedAgain) {
  Change(kTenant, Limits({{LimitKind::kCpu, "300m"}}));
  host_.FailNext(cgroup::FakeCall::kSetLimits, {ErrorCode::kSystem, "no such file"}, 2);
  EXPECT_EQ(RoundInTime(), (Lines{"limits of tenant t changed: cpu = 300m (kernel)",
                                  "limits of tenant t not held yet: E2099: no such file"}));
  EXPECT_EQ(RoundInTime(), Lines{});
  EXPECT_EQ(Held("t-t").cpu_nanocores, 800'000'000);
  EXPECT_EQ(RoundInTime(), Lines{});
  EXPECT_EQ(Held("t-t").cpu_nanocores, 300'000'000);
}

// Its own limits, where somebody else than `mete run` changes them.
TEST_F(Levels, AndTheAgentsOwnAreFollowedAtOnce) {
  Change(kAgent, Limits({{LimitKind::kCpu, "100m"}, {LimitKind::kTokensPerHour, "7"}}));
  EXPECT_EQ(Round(), Lines{"limits changed: cpu = 100m (kernel), tokens_per_hour = 7 (reported)"});
  EXPECT_EQ(host_.LimitsOf(group_)->cpu_nanocores, 100'000'000);
  EXPECT_EQ(agent_->config().limits[LimitKind::kCpu]->text, "100m");
  EXPECT_EQ(Round(), Lines{});
  Change(kAgent, Limits({{LimitKind::kCpu, "1m"}}));
  EXPECT_EQ(Round(), Lines{"limits changed, not held: E2071: cpu: less than the kernel can hold, "
                           "allowed: at least 10m, given: 1m"});
  EXPECT_EQ(Round(), Lines{}) << "told once";
  EXPECT_EQ(host_.LimitsOf(group_)->cpu_nanocores, 100'000'000);
  Change(kAgent, Limits({{LimitKind::kCpu, "2"}}));
  EXPECT_EQ(Round(), Lines{"limits changed: cpu = 2 (kernel)"});
  EXPECT_EQ(host_.LimitsOf(group_)->cpu_nanocores, 2'000'000'000);
}

}  // namespace
}  // namespace mete::agent
