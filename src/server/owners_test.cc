#include "server/owners.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mete::server {
namespace {

// A process that waits to be ended.
class Child {
 public:
  Child() : pid_(fork()) {
    if (pid_ == 0) {
      for (;;) pause();
    }
  }
  ~Child() { End(); }
  void End() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  agent::Peer Peer() const {
    agent::Peer peer;
    peer.pid = pid_;
    peer.uid = geteuid();
    peer.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    return peer;
  }

 private:
  pid_t pid_;
};

class OwnersTest : public testing::Test {
 protected:
  OwnersTest()
      : manager(*ResourceManager::Create({.default_limits = {}}, clock)),
        owners(*Owners::Create(*manager)) {
    ResourceLimits limits;
    limits[LimitKind::kTokensPerHour] = *ParseLimit(LimitKind::kTokensPerHour, "100");
    EXPECT_TRUE(manager->CreateQuota("a", limits));
  }

  bool HasNews() const {
    pollfd fd{owners->fd(), POLLIN, 0};
    return poll(&fd, 1, 0) == 1;
  }
  std::int64_t Held() {
    const ResourceQuota quota = *manager->GetQuota("a");
    return quota.windows.at(0).held;
  }
  Result<Owners::Grant> Reserve(const agent::Peer& peer, std::int64_t tokens,
                                ReserveOptions options = {}) {
    return owners->Reserve(peer, "a", Amounts().Set(Resource::kTokens, tokens), options);
  }

  VirtualClock clock{Time(std::chrono::hours(1))};
  std::unique_ptr<ResourceManager> manager;
  std::unique_ptr<Owners> owners;
};

TEST_F(OwnersTest, WhatAProcessHoldsEndsWithIt) {
  Child child;
  const agent::Peer peer = child.Peer();
  ASSERT_TRUE(Reserve(peer, 60));
  ASSERT_TRUE(owners->Attach(peer, "a", {.measured = {Resource::kMemory}, .cpu_held = false}));
  ASSERT_TRUE(manager->ReportUsage("a", Amounts().Set(Resource::kMemory, 5000), Source::kSampled));
  EXPECT_EQ(owners->RunnerOf("a"), peer.pid);
  EXPECT_FALSE(HasNews());
  EXPECT_EQ(Held(), 60);
  child.End();
  EXPECT_TRUE(HasNews());
  owners->Reap();
  EXPECT_EQ(Held(), 0);
  EXPECT_EQ(manager->GetUsage("a")->memory_bytes, 0);
  EXPECT_FALSE(owners->RunnerOf("a"));
  EXPECT_FALSE(HasNews()) << "once";
  EXPECT_TRUE(manager->CleanupQuota("a"));
}

TEST_F(OwnersTest, AProcessThatHoldsNothingMoreIsForgotten) {
  Child child;
  const agent::Peer peer = child.Peer();
  const auto grant = Reserve(peer, 60);
  ASSERT_TRUE(grant);
  ASSERT_TRUE(manager->Release(grant->id));
  owners->Forget(grant->id);
  ASSERT_TRUE(owners->Attach(peer, "a", {}));
  ASSERT_TRUE(owners->Detach(peer, "a"));
  child.End();
  EXPECT_FALSE(HasNews()) << "also while its connection's pidfd is open";
}

TEST_F(OwnersTest, ATargetHasOneRunner) {
  Child child, other;
  const agent::Peer peer = child.Peer(), stranger = other.Peer();
  ASSERT_TRUE(owners->Attach(peer, "a", {}));
  EXPECT_TRUE(owners->Attach(peer, "a", {})) << "again";
  const auto refused = owners->Attach(stranger, "a", {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInUse);
  EXPECT_NE(refused.error().message.find(std::to_string(peer.pid)), std::string::npos);
  EXPECT_EQ(owners->Detach(stranger, "a").error().code, ErrorCode::kNotPermitted);
  EXPECT_TRUE(owners->IsRunner(peer, "a"));
  EXPECT_FALSE(owners->IsRunner(stranger, "a"));
  child.End();
  owners->Reap();
  EXPECT_TRUE(owners->Attach(stranger, "a", {}));
}

TEST_F(OwnersTest, ARefusalLeavesNothing) {
  Child child;
  const agent::Peer peer = child.Peer();
  EXPECT_EQ(owners->Attach(peer, "nobody", {}).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(owners->RunnerOf("nobody"));
  EXPECT_FALSE(Reserve(peer, 101));
  EXPECT_EQ(Held(), 0);
  agent::Peer gone;
  gone.pid = 1 << 22;  // above any process number
  EXPECT_EQ(owners->Attach(gone, "a", {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Reserve(gone, 1).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Held(), 0) << "what was reserved for nobody is given back";
}

TEST_F(OwnersTest, OneProcessHoldsSoMuchAndNoMore) {
  Child child;
  const agent::Peer peer = child.Peer();
  for (std::size_t i = 0; i < Owners::kMostHolds; ++i) {
    ASSERT_TRUE(Reserve(peer, 0, {.ttl = std::chrono::seconds(i == 0 ? 1 : 60)})) << i;
  }
  EXPECT_EQ(Reserve(peer, 0).error().code, ErrorCode::kLimitExceeded);
  Child other;
  EXPECT_TRUE(Reserve(other.Peer(), 0));
  clock.Advance(std::chrono::seconds(2));
  EXPECT_TRUE(Reserve(peer, 0)) << "one has expired";
  EXPECT_FALSE(Reserve(peer, 0));
}

TEST_F(OwnersTest, WithoutThemNothingIsRunAnyMore) {
  Child child;
  ASSERT_TRUE(owners->Attach(child.Peer(), "a", {}));
  EXPECT_EQ(manager->CleanupQuota("a").error().code, ErrorCode::kInUse);
  owners.reset();
  EXPECT_TRUE(manager->CleanupQuota("a"));
}

}  // namespace
}  // namespace mete::server
