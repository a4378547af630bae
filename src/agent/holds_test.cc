#include "agent/holds.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/test_agent.h"

namespace mete::agent {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

Amounts Tokens(std::int64_t count) { return Amounts().Set(Resource::kTokens, count); }

// A child that lives until told, as a peer.
class Owner {
 public:
  Owner() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    mine_.reset(ends[0]);
    UniqueFd childs(ends[1]);
    pid_ = fork();
    if (pid_ == 0) {
      mine_.reset();
      char byte;
      [[maybe_unused]] ssize_t got = read(childs.get(), &byte, 1);
      _exit(0);
    }
    peer_.pid = pid_;
    peer_.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  }
  ~Owner() { End(); }
  const Peer& peer() const { return peer_; }
  void End() {
    if (pid_ < 0) return;
    EXPECT_EQ(write(mine_.get(), "x", 1), 1);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  UniqueFd mine_;
  pid_t pid_;
  Peer peer_;
};

class HoldsTest : public testing::Test {
 protected:
  HoldsTest()
      : agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}, {LimitKind::kCostPerDay, "5"}})),
        loop(*Loop::Create()),
        holds(*loop, *agent) {}

  std::int64_t Held() { return agent.Usage().held; }
  std::int64_t Used() { return agent.Usage().used; }
  void Look() { ASSERT_TRUE(loop->RunOnce(Time())); }

  TestAgent agent;
  std::unique_ptr<Loop> loop;
  HoldOwners holds;
};

TEST_F(HoldsTest, CountUntilTheyAreSettledOrReleased) {
  Owner owner;
  const auto first = holds.Reserve(Tokens(600), std::nullopt, owner.peer());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->expires, agent.clock.Now() + minutes(10));
  EXPECT_EQ(Held(), 600);
  const auto refused = holds.Reserve(Tokens(401), std::nullopt, owner.peer());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kLimitExceeded);
  const auto second = holds.Reserve(Tokens(400), std::nullopt, owner.peer());
  ASSERT_TRUE(second);
  ASSERT_TRUE(holds.Settle(first->id, Tokens(100)));
  EXPECT_EQ(Used(), 100);
  ASSERT_TRUE(holds.Release(second->id));
  EXPECT_EQ(Held(), 0);
  // A second settle answers the first receipt and counts nothing.
  EXPECT_EQ(holds.Settle(first->id, Tokens(100))->used.Get(Resource::kTokens), 100);
  EXPECT_EQ(Used(), 100);
  EXPECT_FALSE(holds.Release(second->id));
}

TEST_F(HoldsTest, WithTheSameKeyAreOne) {
  Owner owner;
  const auto first = holds.Reserve(Tokens(600), std::nullopt, owner.peer(), "k");
  ASSERT_TRUE(first);
  agent.Advance(seconds(1));
  const auto again = holds.Reserve(Tokens(600), std::nullopt, owner.peer(), "k");
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(again->id, first->id);
  EXPECT_EQ(again->expires, first->expires);
  EXPECT_EQ(Held(), 600);
  EXPECT_FALSE(holds.Reserve(Tokens(1), std::nullopt, owner.peer(), "k")) << "another content";
  ASSERT_TRUE(holds.Release(first->id));
  EXPECT_EQ(holds.Reserve(Tokens(600), std::nullopt, owner.peer(), "k").error().code,
            ErrorCode::kNotFound);
}

TEST_F(HoldsTest, AreReleasedWhenTheirOwnerEnds) {
  Owner owner, other;
  ASSERT_TRUE(holds.Reserve(Tokens(100), std::nullopt, owner.peer()));
  ASSERT_TRUE(holds.Reserve(Tokens(200), std::nullopt, owner.peer()));
  const auto kept = holds.Reserve(Tokens(50), std::nullopt, other.peer());
  ASSERT_TRUE(kept);
  Look();
  EXPECT_EQ(Held(), 350);
  owner.End();
  Look();
  EXPECT_EQ(Held(), 50);
  EXPECT_EQ(Used(), 0);
}

TEST_F(HoldsTest, OfMoneyAreChargedInFullWhenTheirOwnerEnds) {
  Owner owner;
  ASSERT_TRUE(
      holds.Reserve(Tokens(100).Set(Resource::kCost, 2'000'000'000), std::nullopt, owner.peer()));
  owner.End();
  Look();
  EXPECT_EQ(agent->totals().cost_nano, 2'000'000'000);
  EXPECT_EQ(Used(), 0);
  EXPECT_EQ(Held(), 0);
}

TEST_F(HoldsTest, EndWithTheirTime) {
  Owner owner;
  const auto longer = holds.Reserve(Tokens(1), seconds(5), owner.peer());
  const auto shorter = holds.Reserve(Tokens(2), seconds(3), owner.peer());
  ASSERT_TRUE(longer && shorter);
  EXPECT_EQ(agent->NextDeadline(), agent.clock.Now() + seconds(3));
  agent.Advance(seconds(3) - Duration(1));
  EXPECT_EQ(Held(), 3);
  agent.Advance(Duration(1));
  EXPECT_EQ(Held(), 1);
  EXPECT_FALSE(holds.Settle(shorter->id, Tokens(2)));
  agent.Advance(seconds(2));
  EXPECT_EQ(Held(), 0);
  // The end of their owner finds nothing left to give up.
  owner.End();
  Look();
  EXPECT_EQ(Used(), 0);
}

TEST_F(HoldsTest, NeedALivingOwnerAndABoundedTime) {
  Owner owner;
  EXPECT_FALSE(holds.Reserve(Tokens(1), HoldOwners::kLongestTtl + Duration(1), owner.peer()));
  EXPECT_TRUE(holds.Reserve(Tokens(1), HoldOwners::kLongestTtl, owner.peer()));
  EXPECT_FALSE(holds.Reserve(Tokens(1), std::nullopt, Peer{}));
  owner.End();
  Look();
  const auto dead = holds.Reserve(Tokens(1), std::nullopt, owner.peer());
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Held(), 0);
}

TEST_F(HoldsTest, AreBoundedInNumber) {
  Owner owner;
  for (std::size_t i = 0; i < HoldOwners::kMostHolds; ++i) {
    ASSERT_TRUE(holds.Reserve(Tokens(0), std::nullopt, owner.peer())) << i;
  }
  const auto refused = holds.Reserve(Tokens(0), std::nullopt, owner.peer());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kLimitExceeded);
  // Those whose time is over make room.
  agent.Advance(HoldOwners::kUsualTtl);
  EXPECT_TRUE(holds.Reserve(Tokens(1), std::nullopt, owner.peer()));
  owner.End();
  Look();
  EXPECT_EQ(Held(), 0);
}

TEST_F(HoldsTest, OfANumberThatCameRoundBelongToTheNewProcess) {
  Owner owner;
  ASSERT_TRUE(holds.Reserve(Tokens(100), std::nullopt, owner.peer()));
  owner.End();
  // Before the loop saw the end, another process with the same number reserves.
  Owner next;
  Peer reused;
  reused.pid = owner.peer().pid;
  reused.pidfd.reset(dup(next.peer().pidfd.get()));
  ASSERT_TRUE(holds.Reserve(Tokens(7), std::nullopt, reused));
  EXPECT_EQ(Held(), 7);
  Look();
  EXPECT_EQ(Held(), 7);
}

}  // namespace
}  // namespace mete::agent
