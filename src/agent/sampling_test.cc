#include "agent/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Node = Sampler::Node;

const Time kStart{std::chrono::hours(10)};

TEST(NextReading, IsWhenTheRestCouldBeUsedUp) {
  using namespace std::chrono_literals;
  EXPECT_EQ(NextReading(100ms, 1), Duration(100ms));
  EXPECT_EQ(NextReading(100ms, 4), Duration(25ms));
  EXPECT_EQ(NextReading(8ms, 4), Duration(2ms));
  EXPECT_EQ(NextReading(7ms, 4), Duration(2ms));  // no sooner
  EXPECT_EQ(NextReading(0ms, 4), Duration(2ms));
  EXPECT_EQ(NextReading(-5ms, 4), Duration(2ms));
  EXPECT_EQ(NextReading(1s, 1), Duration(1s));
  EXPECT_EQ(NextReading(1h, 2), Duration(1s));  // no later
  EXPECT_EQ(NextReading(Duration::max(), 1), Duration(1s));
  EXPECT_EQ(NextReading(100ms, 0), Duration(100ms));  // a machine that does not tell has one
}

// Counters as a kernel would have them: what an agent uses counts on all above it.
class SamplerTest : public testing::Test {
 protected:
  Node Parent(Node above = Sampler::kNone) {
    const Node node = sampler.AddParent(above);
    above_[node] = above;
    used_[node] = 0;
    return node;
  }
  Node Agent(Node above) {
    const Node node = sampler.AddAgent(above, now);
    above_[node] = above;
    used_[node] = 0;
    return node;
  }
  void Use(Node node, std::int64_t ns) {
    for (; node != Sampler::kNone; node = above_[node]) used_[node] += ns;
  }
  // What was read in one sweep, in order.
  std::vector<Node> Sweep(Duration after = {}) {
    now += after;
    std::vector<Node> read;
    sampler.Sweep(now, [&](Node node) {
      read.push_back(node);
      seen[node] = used_[node];
      return used_[node];
    });
    return read;
  }

  Time now = kStart;
  Sampler sampler{2};
  std::map<Node, std::int64_t> seen;
  std::map<Node, std::int64_t> used_;
  std::map<Node, Node> above_;
};

TEST_F(SamplerTest, HasNothingToDoWithoutAgents) {
  EXPECT_FALSE(sampler.NextDeadline());
  EXPECT_TRUE(Sweep().empty());
  Parent();
  EXPECT_TRUE(Sweep().empty()) << "a parent is read only for its agents";
}

TEST_F(SamplerTest, ReadsAnAgentThatRunsAtTheUsualInterval) {
  const Node agent = Agent(Sampler::kNone);
  EXPECT_EQ(sampler.NextDeadline(), now);
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(Sweep(), std::vector<Node>{agent});
    EXPECT_EQ(sampler.NextDeadline(), now + Sampler::kUsual);
    EXPECT_TRUE(Sweep(Sampler::kUsual - Duration(1)).empty());
    now += Duration(1);
    Use(agent, 1000);
  }
}

TEST_F(SamplerTest, AsksAnIdleAgentLessAndLessOften) {
  const Node agent = Agent(Sampler::kNone);
  Sweep();
  std::vector<Duration> pauses;
  for (int round = 0; round < 6; ++round) {
    const Time next = sampler.NextDeadline().value();
    pauses.push_back(next - now);
    EXPECT_EQ(Sweep(next - now), std::vector<Node>{agent});
  }
  EXPECT_EQ(pauses, (std::vector<Duration>{milliseconds(100), milliseconds(200), milliseconds(400),
                                           milliseconds(800), seconds(1), seconds(1)}));
  Use(agent, 1);
  Sweep(seconds(1));
  EXPECT_EQ(sampler.NextDeadline(), now + Sampler::kUsual);
}

TEST_F(SamplerTest, ReadsABudgetWhenItCouldBeUsedUp) {
  const Node agent = Agent(Sampler::kNone);
  Sweep();
  sampler.SetRemaining(agent, milliseconds(100), now);
  EXPECT_EQ(sampler.NextDeadline(), now + milliseconds(50)) << "two cores";
  EXPECT_EQ(Sweep(milliseconds(50)), std::vector<Node>{agent});
  EXPECT_EQ(sampler.NextDeadline(), now + milliseconds(50)) << "idle, but its budget could end";
  sampler.SetRemaining(agent, milliseconds(1), now);
  EXPECT_EQ(sampler.NextDeadline(), now + milliseconds(2));
  sampler.SetRemaining(agent, std::nullopt, now);
  Sweep(milliseconds(2));
  EXPECT_GE(sampler.NextDeadline().value(), now + Sampler::kUsual);
}

TEST_F(SamplerTest, OneReadingOfAParentSparesAllThatStandStill) {
  const Node top = Parent();
  const Node tenant = Parent(top);
  std::vector<Node> agents;
  for (int i = 0; i < 100; ++i) agents.push_back(Agent(tenant));
  EXPECT_EQ(Sweep().size(), 102u);
  EXPECT_EQ(Sweep(Sampler::kUsual), std::vector<Node>{top});
  EXPECT_EQ(Sweep(Sampler::kUsual), std::vector<Node>{top});
  Use(agents[7], 1000);
  EXPECT_EQ(Sweep(Sampler::kUsual).size(), 102u);
  EXPECT_EQ(seen[agents[7]], 1000);
}

TEST_F(SamplerTest, WhatRanUnderOneParentDoesNotCostTheOthers) {
  const Node top = Parent();
  const Node busy = Parent(top), quiet = Parent(top);
  const Node runs = Agent(busy), rests = Agent(quiet);
  Sweep();
  Use(runs, 5);
  const std::vector<Node> read = Sweep(Sampler::kUsual);
  EXPECT_NE(std::ranges::find(read, runs), read.end());
  EXPECT_EQ(std::ranges::find(read, rests), read.end());
}

// The parent changed while the agent was not due; at its next turn the parent stands still again.
TEST_F(SamplerTest, AChangeBetweenItsReadingsIsNotMissed) {
  const Node top = Parent();
  const Node often = Agent(top), seldom = Agent(top);
  Sweep();
  // Siblings run, so that `seldom` is asked less often.
  for (int i = 0; i < 4; ++i) {
    Use(often, 1);
    Sweep(Sampler::kUsual);
  }
  Use(seldom, 77);
  while (seen[seldom] == 0 && now < kStart + seconds(10)) Sweep(Sampler::kUsual);
  EXPECT_EQ(seen[seldom], 77);
}

TEST_F(SamplerTest, WhatSleepsIsNotRead) {
  const Node agent = Agent(Sampler::kNone);
  Sweep();
  sampler.SetAsleep(agent, true, now);
  EXPECT_FALSE(sampler.NextDeadline());
  sampler.SetRemaining(agent, milliseconds(1), now);
  EXPECT_FALSE(sampler.NextDeadline());
  EXPECT_TRUE(Sweep(seconds(10)).empty());
  sampler.SetAsleep(agent, false, now);
  EXPECT_EQ(sampler.NextDeadline(), now);
  EXPECT_EQ(Sweep(), std::vector<Node>{agent});
}

TEST_F(SamplerTest, MayBePutToSleepWhileItIsRead) {
  const Node agent = Agent(Sampler::kNone);
  sampler.Sweep(now, [&](Node) {
    sampler.SetAsleep(agent, true, now);
    return std::int64_t{1};
  });
  EXPECT_FALSE(sampler.NextDeadline());
}

TEST_F(SamplerTest, ForgetsWhatIsRemovedAndUsesItsNumberAgain) {
  const Node first = Agent(Sampler::kNone);
  const Node second = Agent(Sampler::kNone);
  sampler.Remove(first);
  EXPECT_EQ(Sweep(), std::vector<Node>{second});
  const Node third = Agent(Sampler::kNone);
  EXPECT_EQ(third, first);
  EXPECT_EQ(Sweep(), std::vector<Node>{third});
}

// Random load: whatever an agent used is seen within a second, or when its budget could end.
TEST_F(SamplerTest, NothingIsSeenLateOverRandomLoad) {
  std::mt19937 random(20260301);
  const Node top = Parent();
  std::vector<Node> agents;
  for (int t = 0; t < 5; ++t) {
    const Node tenant = Parent(top);
    for (int i = 0; i < 20; ++i) agents.push_back(Agent(tenant));
  }
  std::map<Node, Time> unseen_since;
  for (int round = 0; round < 3000; ++round) {
    const Time next = std::min(sampler.NextDeadline().value(), now + milliseconds(30));
    now = std::max(now, next);
    if (round % 3 == 0) {
      const Node agent = agents[random() % (round % 100 < 50 ? 5 : agents.size())];
      Use(agent, 1 + random() % 1000);
      unseen_since.try_emplace(agent, now);
    }
    Sweep();
    for (auto it = unseen_since.begin(); it != unseen_since.end();) {
      const bool is_seen = seen[it->first] == used_[it->first];
      ASSERT_TRUE(is_seen || now - it->second <= Sampler::kIdle) << "agent " << it->first;
      it = is_seen ? unseen_since.erase(it) : std::next(it);
    }
  }
}

}  // namespace
}  // namespace mete::agent
