#include "agent/guardian.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "agent/adopt.h"
#include "agent/recorded_group.h"
#include "cgroup/fake_host.h"

namespace mete::agent {
namespace {

using std::chrono::seconds;

std::string TestFile() {
  const std::string path = testing::TempDir() + "guardian-test-" + std::to_string(getpid());
  std::ofstream(path) << "socket";
  return path;
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// Whether the condition came true within 10 s; bounded, not measured.
template <class Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    usleep(10'000);
  }
  return false;
}

// A process that sleeps in the group.
pid_t StartSleeper(Group& group) {
  const pid_t pid = fork();
  if (pid == 0) {
    group.JoinSelf();
    execlp("sleep", "sleep", "100", nullptr);
    _exit(127);
  }
  EXPECT_TRUE(Eventually([&] { return group.Contains(pid); }));
  return pid;
}

// A guardian that knows of the group.
Result<Guardian> StartFor(Host& host, Group& group) {
  Result<Guardian> guardian = Guardian::Start(host);
  if (!guardian) return guardian;
  guardian->Making(group.name());
  guardian->Made();
  return guardian;
}

TEST(Guardian, LeavesEverythingAloneAfterAGoodbye) {
  cgroup::FakeHost host;
  auto group = *host.Create("guardian-goodbye", {});
  const std::string path = TestFile();
  const pid_t sleeper = StartSleeper(*group);
  {
    Result<Guardian> guardian = StartFor(host, *group);
    ASSERT_TRUE(guardian);
    guardian->Remember(path);
    const pid_t pid = guardian->pid();
    guardian->Dismiss();
    EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), -1) << "reaped";
    guardian->Dismiss();  // again
  }
  EXPECT_TRUE(Exists(path));
  EXPECT_EQ(waitpid(sleeper, nullptr, WNOHANG), 0) << "still runs";
  unlink(path.c_str());
  ASSERT_TRUE(group->Kill(seconds(10)));
  waitpid(sleeper, nullptr, 0);
}

TEST(Guardian, EndsTheAgentWhenItsOwnerIsKilled) {
  cgroup::FakeHost host;
  auto group = *host.Create("guardian-kill", {});
  const std::string path = TestFile();
  const pid_t owner = fork();
  if (owner == 0) {
    Result<Guardian> guardian = StartFor(host, *group);
    guardian->Remember(path);
    StartSleeper(*group);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(owner, &status, 0), owner);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(Eventually([&] { return !group->Read()->populated && !Exists(path); }));
}

TEST(Guardian, EndsAFrozenAgentToo) {
  cgroup::FakeHost host;
  auto group = *host.Create("guardian-frozen", {});
  const pid_t sleeper = StartSleeper(*group);
  ASSERT_TRUE(group->Freeze(seconds(10)));
  Result<Guardian> guardian = StartFor(host, *group);
  ASSERT_TRUE(guardian);
  const pid_t pid = guardian->pid();
  guardian->TakeOver();
  int status = 0;
  ASSERT_EQ(waitpid(sleeper, &status, 0), sleeper);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  ASSERT_EQ(waitpid(pid, &status, 0), pid) << "its work is done";
  EXPECT_FALSE(host.GroupOf(sleeper));
}

TEST(Guardian, DoesNotKillWhatItsOwnerHasNotMade) {
  cgroup::FakeHost host;
  auto others = *host.Create("guardian-others", {});
  const pid_t sleeper = StartSleeper(*others);
  Result<Guardian> guardian = Guardian::Start(host);
  ASSERT_TRUE(guardian);
  const pid_t pid = guardian->pid();
  guardian->Making("guardian-others");  // and it finds the name in use
  guardian->TakeOver();
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_EQ(waitpid(sleeper, nullptr, WNOHANG), 0) << "it lives";
  ASSERT_TRUE(others->Kill(seconds(10)));
  waitpid(sleeper, nullptr, 0);
}

TEST(Guardian, EndsAtOnceWhenThereIsNothingToDo) {
  cgroup::FakeHost host;
  for (const char* name : {"", "guardian-never-made"}) {
    Result<Guardian> guardian = Guardian::Start(host);
    ASSERT_TRUE(guardian);
    const pid_t pid = guardian->pid();
    guardian->Making(name);
    guardian->TakeOver();
    EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  }
}

TEST(Guardian, IsOutOfReachWhenTheGroupIsMade) {
  cgroup::FakeHost host;
  Result<Guardian> guardian = Guardian::Start(host);
  ASSERT_TRUE(guardian);
  guardian->Making("guardian-ready");
  EXPECT_EQ(getsid(guardian->pid()), guardian->pid()) << "a session of its own, already";
}

TEST(Guardian, IgnoresSignalsAndTheTerminal) {
  cgroup::FakeHost host;
  auto group = *host.Create("guardian-signals", {});
  Result<Guardian> guardian = StartFor(host, *group);
  ASSERT_TRUE(guardian);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGTSTP, SIGPIPE}) {
    kill(guardian->pid(), number);
  }
  usleep(20'000);
  EXPECT_EQ(waitpid(guardian->pid(), nullptr, WNOHANG), 0) << "it lives";
}

TEST(Guardian, HoldsNoneOfTheCallersDescriptors) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // not close-on-exec, as a caller hands it down
  cgroup::FakeHost host;
  auto group = *host.Create("guardian-fds", {});
  Result<Guardian> guardian = StartFor(host, *group);
  ASSERT_TRUE(guardian);
  close(ends[1]);
  // With the guardian holding the other end, this would never become readable.
  pollfd reader{.fd = ends[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&reader, 1, 10'000), 1);
  close(ends[0]);
  const std::string standard = "/proc/" + std::to_string(guardian->pid()) + "/fd/1";
  char target[64] = {};
  EXPECT_GT(readlink(standard.c_str(), target, sizeof target - 1), 0);
  EXPECT_STREQ(target, "/dev/null");
}

// --- with a record ---

class GuardianOfARecord : public testing::Test {
 protected:
  GuardianOfARecord() {
    record_ = NewRecord(SystemClock::Instance());
    record_.id = record_.group = "guardian-record";
    path_ = testing::TempDir() + "guardian-" + std::to_string(getpid()) + ".record";
    group_ = *host_.Create(record_.group, {});
  }
  ~GuardianOfARecord() override {
    [[maybe_unused]] Result<void> killed = group_->Kill(seconds(10));
    unlink(path_.c_str());
  }

  // An owner that freezes the agent and is killed. The guardian waits so long for a successor.
  void KillOwner(Duration wait) {
    const pid_t owner = fork();
    if (owner == 0) {
      record_.owner = IdentifyProcess(getpid());
      Result<Guardian> guardian = Guardian::Start(host_, wait);
      guardian->Making(record_.group, path_);
      Result<RecordFile> file = RecordFile::Make(path_, record_);
      guardian->Made();
      StartSleeper(*group_);
      [[maybe_unused]] Result<void> frozen = group_->Freeze(seconds(10));
      kill(getpid(), SIGKILL);
    }
    ASSERT_EQ(waitpid(owner, nullptr, 0), owner);
  }

  cgroup::FakeHost host_;
  AgentRecord record_;
  std::string path_;
  std::unique_ptr<Group> group_;
};

TEST_F(GuardianOfARecord, EndsAsItSays) {
  KillOwner(Duration::zero());
  EXPECT_TRUE(Eventually([&] { return !group_->Read()->populated && !Exists(path_); }));
}

TEST_F(GuardianOfARecord, LetsItRunOnAsItSays) {
  record_.orphan = OrphanPolicy::kThaw;
  KillOwner(Duration::zero());
  usleep(500'000);
  EXPECT_TRUE(RecordFile::Take(path_)) << "it is there, and the guardian has let it go";
  EXPECT_TRUE(group_->Read()->populated);
}

TEST_F(GuardianOfARecord, KeepsItAsLongAsTheLease) {
  record_.lease_end = SystemClock::Instance().Now() + seconds(2);
  KillOwner(Duration::zero());
  while (SystemClock::Instance().Now() < *record_.lease_end - std::chrono::milliseconds(500)) {
    ASSERT_TRUE(group_->Read()->populated) << "ended within its lease";
    usleep(20'000);
  }
  EXPECT_TRUE(Eventually([&] { return !group_->Read()->populated; }));
}

TEST_F(GuardianOfARecord, LeavesItToASuccessor) {
  KillOwner(seconds(1));
  Result<RecordFile> taken = RecordFile::Take(path_);
  ASSERT_TRUE(taken) << "within its time anybody may come back";
  AgentRecord mine = *taken->last();
  mine.owner = IdentifyProcess(getpid());
  ASSERT_TRUE(taken->Write(mine));
  usleep(1'500'000);
  EXPECT_TRUE(group_->Read()->populated);
  taken->Remove();
}

TEST_F(GuardianOfARecord, WaitsForWhoeverTakesCareOfItAtTheMoment) {
  KillOwner(std::chrono::milliseconds(300));
  {
    Result<RecordFile> taken = RecordFile::Take(path_);
    ASSERT_TRUE(taken);
    usleep(500'000);
    EXPECT_TRUE(group_->Read()->populated);
  }
  EXPECT_TRUE(Eventually([&] { return !group_->Read()->populated; })) << "it did nothing";
}

}  // namespace
}  // namespace mete::agent
