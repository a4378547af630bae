#include "agent/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/peer.h"

namespace mete::agent {
namespace {

TEST(Process, IsKnownByNumberAndStart) {
  const ProcessId self = IdentifyProcess(getpid());
  EXPECT_EQ(self.pid, getpid());
  EXPECT_GT(self.start, 0u);
  EXPECT_EQ(IdentifyProcess(getpid()), self);
  const UniqueFd pidfd = OpenProcess(self);
  ASSERT_TRUE(pidfd);
  EXPECT_TRUE(IsAlive(pidfd));
}

TEST(Process, OfAnotherStartIsAnother) {
  ProcessId other = IdentifyProcess(getpid());
  other.start += 1;
  EXPECT_FALSE(OpenProcess(other)) << "the number has come round";
}

TEST(Process, ThatIsNotThere) {
  for (pid_t pid : {0, -1, 1 << 30}) {
    EXPECT_EQ(IdentifyProcess(pid), ProcessId{}) << pid;
    EXPECT_FALSE(OpenProcess({pid, 1})) << pid;
  }
}

TEST(Process, IsEndingOnceItHasEnded) {
  EXPECT_FALSE(IsEnding(getpid()));
  EXPECT_TRUE(IsEnding(1 << 30));
  const pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  EXPECT_FALSE(IsEnding(pid));
  kill(pid, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(IsEnding(pid)) << "it has ended, and nobody has waited for it";
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST(Process, MayHaveAnyName) {
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  const ProcessId before = IdentifyProcess(getpid());
  prctl(PR_SET_NAME, "a) R 1 (2 3");
  EXPECT_EQ(IdentifyProcess(getpid()), before);
  prctl(PR_SET_NAME, name);
}

TEST(Process, TellsHowItEndedOrNothing) {
  for (int how : {0, 7, -SIGTERM}) {
    const pid_t pid = fork();
    if (pid == 0) {
      if (how < 0) kill(getpid(), -how);
      _exit(how);
    }
    const UniqueFd pidfd = OpenProcess(IdentifyProcess(pid));
    ASSERT_TRUE(pidfd);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_FALSE(IsAlive(pidfd));
    // Nothing where the kernel is older than 6.15; never anything else than what was.
    EXPECT_EQ(WaitStatusOf(pidfd).value_or(status), status);
  }
}

TEST(Process, ThatRunsHasNoEnd) {
  EXPECT_EQ(WaitStatusOf(OpenProcess(IdentifyProcess(getpid()))), std::nullopt);
  EXPECT_EQ(WaitStatusOf(UniqueFd()), std::nullopt);
}

}  // namespace
}  // namespace mete::agent
