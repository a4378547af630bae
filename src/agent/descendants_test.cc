#include "agent/descendants.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace mete::agent {
namespace {

bool Has(const std::vector<pid_t>& pids, pid_t pid) {
  return std::ranges::find(pids, pid) != pids.end();
}

// A child that sleeps until the test ends it.
pid_t Sleeper() {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return pid;
}

void End(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

TEST(Descendants, AreChildrenAndTheirChildren) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const pid_t grandchild = Sleeper();
    [[maybe_unused]] ssize_t told = write(ends[1], &grandchild, sizeof grandchild);
    for (;;) pause();
  }
  pid_t grandchild = 0;
  ASSERT_EQ(read(ends[0], &grandchild, sizeof grandchild), ssize_t{sizeof grandchild});
  const pid_t other = Sleeper();
  const std::vector<pid_t> all = DescendantsOf(getpid());
  EXPECT_TRUE(Has(all, child));
  EXPECT_TRUE(Has(all, grandchild));
  EXPECT_TRUE(Has(all, other));
  EXPECT_FALSE(Has(all, getpid()));
  const std::vector<pid_t> without = DescendantsOf(getpid(), child);
  EXPECT_FALSE(Has(without, child));
  EXPECT_FALSE(Has(without, grandchild)) << "nor what the exception started";
  EXPECT_TRUE(Has(without, other));
  EXPECT_EQ(DescendantsOf(child), std::vector<pid_t>{grandchild});
  EXPECT_TRUE(DescendsFrom(grandchild, getpid()));
  EXPECT_TRUE(DescendsFrom(grandchild, grandchild));
  EXPECT_FALSE(DescendsFrom(other, child));
  EXPECT_FALSE(DescendsFrom(getpid(), child));
  End(child);
  End(other);
  close(ends[0]);
  close(ends[1]);
}

TEST(Descendants, OfAThreadAreThoseOfItsProcess) {
  pid_t child = 0;
  std::thread([&child] { child = Sleeper(); }).join();
  // The thread that started it is gone: the kernel made it a child of another one.
  const std::vector<pid_t> all = DescendantsOf(getpid());
  // PDEATHSIG is sent when the thread ends, so it may be dying; it is not waited for yet.
  EXPECT_TRUE(Has(all, child));
  End(child);
}

TEST(Descendants, OfNobodyAreNone) {
  const pid_t gone = Sleeper();
  End(gone);
  EXPECT_TRUE(DescendantsOf(gone).empty());
  EXPECT_FALSE(DescendsFrom(gone, getpid()));
}

}  // namespace
}  // namespace mete::agent
