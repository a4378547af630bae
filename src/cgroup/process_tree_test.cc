#include "cgroup/process_tree.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "cgroup/marked_processes.h"
#include "cgroup/test_group.h"
#include "cgroup/tree_registry.h"

namespace mete::cgroup {
namespace {

using Look = ProcessTree::Look;

// A marked child that runs the body; at the end nothing that carries the mark is left.
class Tree {
 public:
  template <class Body>
  explicit Tree(Body body) : mark(NewMark()), tree({mark}) {
    root = fork();
    if (root == 0) {
      alarm(60);
      _exit(MarkSelf(mark) == 0 ? body() : 127);
    }
    EXPECT_TRUE(Eventually([&] { return MarkOf(root) == mark; }));
  }
  ~Tree() {
    EXPECT_TRUE(tree.KillAll(Soon()));
    while (waitpid(root, nullptr, 0) < 0 && errno == EINTR) {
    }
    EXPECT_TRUE(Marked(mark).empty());
  }
  std::size_t Count(Look look = Look::kAll) { return tree.Members(look).size(); }
  static ProcessTree::Clock::time_point Soon() { return ProcessTree::Clock::now() + kSoon; }

  rlim_t mark;
  ProcessTree tree;
  pid_t root;
};

// Another session, a parent that is gone, signals ignored, three times.
int Stubborn() {
  for (int i = 0; i < 3; ++i) {
    if (fork() == 0) {
      setsid();
      if (fork() != 0) _exit(0);
      alarm(60);
      signal(SIGTERM, SIG_IGN);
      signal(SIGHUP, SIG_IGN);
      SleepLong();
    }
  }
  while (wait(nullptr) > 0) {
  }
  return SleepLong();
}

TEST(ProcessTreeTest, FindsSessionsAndOrphans) {
  Tree tree(Stubborn);
  EXPECT_TRUE(Eventually([&] { return tree.Count() == 4 && tree.Count(Look::kMarked) == 4; }));
  EXPECT_TRUE(tree.tree.Has(tree.root));
  EXPECT_FALSE(tree.tree.Has(getpid()));
  EXPECT_TRUE(ProcessTree({}).Members(Look::kAll).empty());
}

TEST(ProcessTreeTest, StopsAndContinuesAll) {
  SharedPage page;
  Tree tree([&page] {
    for (int i = 1; i <= 3; ++i) {
      if (fork() == 0) {
        for (;;) page[i] = page[i] + 1;
      }
    }
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return page[1] > 0 && page[2] > 0 && page[3] > 0; }));
  ASSERT_TRUE(tree.tree.StopAll(Tree::Soon()));
  const long sum = page[1] + page[2] + page[3];
  SleepFor(milliseconds(30));
  EXPECT_EQ(page[1] + page[2] + page[3], sum);
  EXPECT_TRUE(tree.tree.StopRound(Look::kMarked)) << "nothing was left to do";
  tree.tree.SignalAll(SIGCONT);
  EXPECT_TRUE(Eventually([&] { return page[1] + page[2] + page[3] > sum; }));
}

TEST(ProcessTreeTest, WhoIsContinuedFromInsideIsStoppedAgain) {
  Tree tree(SpinLong);
  ASSERT_TRUE(tree.tree.StopAll(Tree::Soon()));
  kill(tree.root, SIGCONT);
  ASSERT_TRUE(Eventually([&] { return StillnessOf(tree.root) == Stillness::kRuns; }));
  EXPECT_FALSE(tree.tree.StopRound(Look::kMarked));
  EXPECT_TRUE(Eventually([&] { return StillnessOf(tree.root) == Stillness::kStill; }));
}

// A parent in vfork sleeps where no signal wakes it; its child stands still, and so it runs
// nothing.
TEST(ProcessTreeTest, AParentInVforkDoesNotHoldTheStopUp) {
  SharedPage page;
  Tree tree([&page] {
    if (vfork() == 0) {
      page[0] = 1;
      for (;;) page[1] = page[1] + 1;
    }
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return page[1] > 0; }));
  EXPECT_TRUE(tree.tree.StopAll(Tree::Soon()));
  const long at = page[1];
  SleepFor(milliseconds(20));
  EXPECT_EQ(page[1], at);
}

TEST(ProcessTreeTest, WhoIsTracedIsStoppedAndKilled) {
  Tree tree([] {
    const pid_t traced = fork();
    if (traced == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      return SpinLong();
    }
    waitpid(traced, nullptr, WUNTRACED);
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return tree.Count() == 2; }));
  EXPECT_TRUE(tree.tree.StopAll(Tree::Soon()));
  EXPECT_TRUE(tree.tree.KillAll(Tree::Soon()));
  EXPECT_EQ(tree.Count(), 0U);
}

// Each forks the next in a session of its own and ends at once: no process lives for long. Only so
// many that their dead, which wait for this process, leave numbers for others; the last one stays.
int Runaway() {
  for (int i = 0; i < 2'000; ++i) {
    if (fork() != 0) _exit(0);
    setsid();
    if ((i & 63) == 0) alarm(60);
  }
  alarm(20);
  return SleepLong();
}

TEST(ProcessTreeTest, ARunawayChainIsCaught) {
  for (const bool stop : {true, false}) {
    SCOPED_TRACE(stop ? "stopped" : "killed");
    Tree tree(Runaway);
    SleepFor(milliseconds(5));
    if (stop) {
      ASSERT_TRUE(tree.tree.StopAll(Tree::Soon()));
      const auto still = [&] {
        std::set<pid_t> pids;
        for (const Member& member : tree.tree.Members(Look::kAll)) pids.insert(member.pid);
        return pids;
      };
      const std::set<pid_t> then = still();
      SleepFor(milliseconds(20));
      EXPECT_EQ(still(), then) << "it went on";
    }
    EXPECT_TRUE(tree.tree.KillAll(Tree::Soon()));
    SleepFor(milliseconds(5));
    EXPECT_EQ(tree.Count(), 0U);
  }
}

TEST(ProcessTreeTest, ASignalReachesEveryProcessOnce) {
  SharedPage page;
  static SharedPage* shared;
  shared = &page;
  Tree tree([&page] {
    signal(SIGUSR1, [](int) { (*shared)[getpid() % 400] = (*shared)[getpid() % 400] + 1; });
    for (int i = 0; i < 5; ++i) {
      if (fork() == 0) {
        page[400 + i] = getpid();
        return SleepLong();
      }
    }
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return tree.Count() == 6 && page[404] != 0; }));
  ASSERT_TRUE(Eventually([&] { return page[400] * page[401] * page[402] * page[403] != 0; }));
  tree.tree.SignalAll(SIGUSR1);
  for (int i = 0; i < 5; ++i) {
    const int slot = static_cast<int>(page[400 + i] % 400);
    EXPECT_TRUE(Eventually([&] { return page[slot] == 1; }));
  }
}

// Whoever takes its mark off is found by its parent, and its children by it.
TEST(ProcessTreeTest, WhoTookItsMarkOffIsFoundByItsParent) {
  SharedPage page;
  Tree tree([&page] {
    if (fork() == 0) {
      rlimit limit{};
      getrlimit(RLIMIT_RSS, &limit);
      limit.rlim_cur = RLIM_INFINITY;
      setrlimit(RLIMIT_RSS, &limit);
      if (fork() == 0) {
        alarm(60);
        page[0] = getpid();
        return SpinLong();
      }
      alarm(60);
      return SleepLong();
    }
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return page[0] != 0; }));
  EXPECT_EQ(tree.Count(Look::kMarked), 1U);
  EXPECT_EQ(tree.Count(Look::kAll), 3U);
  EXPECT_EQ(tree.Count(Look::kMarked), 3U) << "once known it is looked for";
  ASSERT_TRUE(tree.tree.StopAll(Tree::Soon()));
  EXPECT_EQ(StillnessOf(static_cast<pid_t>(page[0])), Stillness::kStill);
  EXPECT_TRUE(tree.tree.KillAll(Tree::Soon()));
  EXPECT_TRUE(Eventually([&] { return kill(static_cast<pid_t>(page[0]), 0) != 0; }));
}

// In a process of its own, which is the reaper for as long as the test runs.
TEST(ProcessTreeTest, AnOrphanWithoutAMarkIsTheReapers) {
  SharedPage page;
  const pid_t reaper = fork();
  if (reaper == 0) {
    alarm(60);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t friendly = fork();  // one that was there before
    if (friendly == 0) _exit(SleepLong());
    ProcessTree tree({NewMark()});
    tree.NoteChildren();
    tree.TakeStrays(true);
    page[0] = static_cast<long>(tree.Members(Look::kAll).size());
    const pid_t between = fork();
    if (between == 0) {
      if (fork() != 0) _exit(0);
      setsid();
      alarm(60);
      _exit(SleepLong());
    }
    waitpid(between, nullptr, 0);
    page[1] = static_cast<long>(tree.Members(Look::kAll).size());
    page[2] = tree.KillAll(Tree::Soon());
    page[3] = kill(friendly, 0);
    page[4] = StillnessOf(friendly) == Stillness::kRuns;
    tree.TakeStrays(false);
    page[5] = static_cast<long>(tree.Members(Look::kAll).size());
    kill(friendly, SIGKILL);
    _exit(0);
  }
  waitpid(reaper, nullptr, 0);
  EXPECT_EQ(page[0], 0);
  EXPECT_EQ(page[1], 1);
  EXPECT_EQ(page[2], 1);
  EXPECT_EQ(page[3], 0) << "a child that was there before was ended";
  EXPECT_EQ(page[4], 1);
  EXPECT_EQ(page[5], 0);
}

// The number of a member that ended, used again by another process.
TEST(ProcessTreeTest, AStrangerUnderAKnownNumberIsNotSignalled) {
  Tree tree(SleepLong), other(SleepLong);
  const pid_t plain = fork();
  if (plain == 0) {
    alarm(60);
    _exit(SleepLong());
  }
  Member stale = tree.tree.Members(Look::kMarked).at(0);
  for (const pid_t stranger : {other.root, plain}) {
    stale.pid = stranger;
    EXPECT_FALSE(tree.tree.Signal(stale, SIGKILL));
    stale.marked = false;
    EXPECT_FALSE(tree.tree.Signal(stale, SIGKILL));
    EXPECT_EQ(kill(stranger, 0), 0);
    EXPECT_FALSE(ReadStat(stranger)->gone());
  }
  kill(plain, SIGKILL);
  waitpid(plain, nullptr, 0);
}

TEST(ProcessTreeTest, ADeadlineOfNothingIsKept) {
  Tree tree(SpinLong);
  EXPECT_FALSE(tree.tree.StopAll(ProcessTree::Clock::now()));
  tree.tree.SignalAll(SIGCONT);
  EXPECT_TRUE(ProcessTree({NewMark()}).StopAll(ProcessTree::Clock::now())) << "nobody to stop";
  EXPECT_TRUE(ProcessTree({NewMark()}).KillAll(ProcessTree::Clock::now()));
}

TEST(MarkedProcesses, AMarkOfAnotherUsersProcessIsReadToo) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can start a process of another user";
  const rlim_t mark = NewMark();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(MarkSelf(mark) == 0 && setuid(65534) == 0 ? SleepLong() : 1);
  }
  EXPECT_TRUE(Eventually([&] { return UserOf(child) == 65534 && MarkOfAny(child) == mark; }));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(MarkOfAny(child), 0U);
  EXPECT_EQ(MarkOfAny(-1), 0U);
}

}  // namespace
}  // namespace mete::cgroup
