// Agents that may outlive their owner, in groups of the kernel: frozen by an owner that is killed,
// kept as long as the lease says, then thawed in the limits that they had all along.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agent/adopt.h"
#include "agent/guardian.h"
#include "agent/recorded_group.h"
#include "left_behind.h"

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Whoever counts on a lease may be held up by other work; this is not what is measured.
constexpr int kSoonSeconds = 10;

class Lease : public testing::Test {
 protected:
  Lease() {
    std::string path = testing::TempDir() + "mete-lease-XXXXXX";
    folder_ = mkdtemp(path.data());
    id_ = FreshName("lease");
    record_ = NewRecord(clock_);
    record_.id = record_.group = id_;
    record_.orphan = OrphanPolicy::kThaw;
    record_.kernel.cpu_nanocores = 500'000'000;
    record_.kernel.memory_max = 64 << 20;
    record_.kernel.pids_max = 32;
  }
  ~Lease() override {
    if (auto group = host_->Find(id_)) {
      EXPECT_TRUE((*group)->Kill(seconds(kSoonSeconds)));
      EXPECT_TRUE((*group)->Remove());
    }
    std::filesystem::remove_all(folder_);
  }

  std::string path() const { return RecordPath(folder_, id_); }

  // Makes the agent, freezes it, and is killed.
  void Owner(bool with_guardian) {
    const pid_t owner = fork();
    if (owner == 0) {
      record_.owner = IdentifyProcess(getpid());
      Result<Guardian> guardian = Guardian::Start(*host_, milliseconds(200));
      if (with_guardian) guardian->Making(id_, path());
      Result<RecordFile> file = RecordFile::Make(path(), record_);
      Result<std::unique_ptr<Group>> made = host_->Create(id_, record_.kernel);
      if (with_guardian) guardian->Made();
      RecordedGroup group(*std::move(made), *std::move(file));
      const pid_t leader = fork();
      if (leader == 0) {
        group.JoinSelf();
        execlp("sleep", "sleep", "60", nullptr);
        _exit(127);
      }
      while (!group.Contains(leader)) usleep(500);
      group.SetLeader(leader);
      // Not before the program runs: until then it holds the lock as well.
      usleep(100'000);
      group.DescribeBy([this](AgentRecord& record) { record.lease_end = lease_end_; });
      [[maybe_unused]] Result<void> frozen = group.Freeze(seconds(kSoonSeconds));
      kill(getpid(), SIGKILL);
    }
    ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  }

  void CheckLimits(bool frozen) {
    const HeldLimits held = LimitsHeld(id_);
    EXPECT_TRUE(held.populated) << "lost";
    EXPECT_EQ(held.frozen, frozen);
    EXPECT_EQ(held.cpu_us, 50'000);
    EXPECT_EQ(held.memory, 64 << 20);
    EXPECT_EQ(held.pids, 32);
  }

  const SystemClock clock_;
  const std::unique_ptr<Host> host_ = OpenHost();
  std::string folder_, id_;
  AgentRecord record_;
  Time lease_end_ = clock_.Now() + seconds(2);
};

TEST_F(Lease, IsKeptByTheGuardianThatThawsThen) {
  Owner(true);
  if (clock_.Now() < lease_end_ - milliseconds(300)) CheckLimits(true);
  EXPECT_TRUE(Eventually([&] { return !LimitsHeld(id_).frozen; }, kSoonSeconds));
  EXPECT_GE(clock_.Now(), lease_end_);
  CheckLimits(false);
}

TEST_F(Lease, IsKeptByWhoCollectsAndThawsThen) {
  Owner(false);
  const auto settle = [&] {
    Result<FoundAgent> found = FindAgent(*host_, path(), clock_);
    EXPECT_TRUE(found) << (found ? "" : found.error().ToString());
    if (!found) return Decision::kLeave;
    const Decision decision = Decide(*found, clock_.Now());
    EXPECT_TRUE(Settle(*host_, *found, decision));
    return decision;
  };
  if (clock_.Now() < lease_end_ - milliseconds(300)) {
    EXPECT_EQ(NameOf(settle()), "keep");
    CheckLimits(true);
  }
  EXPECT_TRUE(Eventually([&] { return clock_.Now() >= lease_end_; }, kSoonSeconds));
  EXPECT_EQ(NameOf(settle()), "thaw");
  CheckLimits(false);
  EXPECT_EQ(NameOf(settle()), "keep") << "it runs on, and is nobody's to end";
}

TEST_F(Lease, AnOwnerWhoComesBackHasIt) {
  Owner(false);
  Result<FoundAgent> found = FindAgent(*host_, path(), clock_);
  ASSERT_TRUE(found) << found.error().ToString();
  Result<Adopted> adopted = Adopt(*host_, *std::move(found));
  ASSERT_TRUE(adopted) << adopted.error().ToString();
  EXPECT_TRUE(adopted->leader) << "its main process lives";
  EXPECT_TRUE(adopted->sample.frozen);
  CheckLimits(true);
  RecordedGroup group(std::move(adopted->group), *std::move(adopted->file));
  EXPECT_TRUE(group.Thaw());
  CheckLimits(false);
}

}  // namespace
}  // namespace mete::agent
