// An agent on the fake host, with a clock that the test moves and meters that it sets.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/agent.h"
#include "cgroup/fake_host.h"

namespace mete::agent {

inline AgentConfig TestConfig(
    std::initializer_list<std::pair<LimitKind, const char*>> limits = {}) {
  AgentConfig config;
  static std::atomic<int> number = 0;
  config.id = "test-" + std::to_string(++number);
  for (auto [kind, text] : limits) config.limits[kind] = *ParseLimit(kind, text);
  config.policies[static_cast<std::size_t>(Resource::kMemory)].action = QuotaAction::kTerminate;
  config.policies[static_cast<std::size_t>(Resource::kTokens)].mode =
      EnforcementMode::kSoftThenHard;
  return config;
}

class TestAgent {
 public:
  explicit TestAgent(AgentConfig config) {
    host.meter = [this](std::string_view, Sample& sample) {
      sample.cpu_ns = meters.cpu_ns;
      sample.memory_bytes = meters.memory_bytes;
      sample.oom_kills = meters.oom_kills;
      sample.memory_max_hits = meters.memory_max_hits;
    };
    auto group = host.Create(config.id, KernelLimitsOf(config.limits, config.policies,
                                                       config.pids_max, config.controllers));
    agent.emplace(std::move(config), *std::move(group), clock);
  }

  Agent* operator->() { return &*agent; }
  Agent& operator*() { return *agent; }

  // A report of tokens, and what the loop does next.
  void Tokens(std::int64_t count) {
    EXPECT_TRUE(agent->Report(Amounts().Set(Resource::kTokens, count)));
    agent->Reconcile();
  }

  // The limit that the test set, the first in their order.
  LimitUsage Usage() { return agent->quota().windows.at(0); }

  void Advance(Duration by) {
    clock.Advance(by);
    agent->Reconcile();
  }

  // What was done to the group since the last call, without the creation.
  std::vector<std::string> NewCalls() {
    std::vector<std::string> all = host.CallsOn(agent->id());
    std::vector<std::string> fresh(all.begin() + static_cast<std::ptrdiff_t>(seen_), all.end());
    seen_ = all.size();
    return fresh;
  }

  VirtualClock clock{Time(std::chrono::hours(10)), WallTime(std::chrono::seconds(1'772'370'000))};
  Sample meters;
  cgroup::FakeHost host;
  std::optional<Agent> agent;

 private:
  std::size_t seen_ = 1;
};

}  // namespace mete::agent
