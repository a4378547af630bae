#include "cgroup/proc_stat.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "cgroup/test_group.h"

namespace mete::cgroup {
namespace {

TEST(ProcStat, IsReadAlsoWithAnOddName) {
  const auto stat =
      ParseStat("77 (a) b (c) D) T 12 77 77 0 -1 4194560 1 2 3 4 5 6 700 8 20 0 3 0 4711 1 2 3\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->state, 'T');
  EXPECT_EQ(stat->parent, 12);
  EXPECT_EQ(stat->threads, 3);
  EXPECT_EQ(stat->started, 4711U);
  EXPECT_EQ(stat->reaped_cpu / milliseconds(1), 708 * (1000 / sysconf(_SC_CLK_TCK)));
}

TEST(ProcStat, HalfALineIsNone) {
  const std::string whole =
      "77 (a) T 12 77 77 0 -1 4194560 1 2 3 4 5 6 700 8 20 0 3 0 4711 1 2 3\n";
  const std::size_t last = whole.find("4711");
  for (std::size_t length = 0; length < last; ++length) {
    EXPECT_FALSE(ParseStat(whole.substr(0, length))) << length;
  }
  EXPECT_TRUE(ParseStat(whole.substr(0, last + 4)));
  EXPECT_FALSE(ParseStat("77 (a) TT 12 77 77 0 -1 41 1 2 3 4 5 6 700 8 20 0 3 0 4711\n"));
}

TEST(ProcStat, OfThisProcessIsItself) {
  const auto stat = ReadStat(getpid());
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->parent, getppid());
  EXPECT_EQ(stat->threads, 1);
  EXPECT_FALSE(stat->gone());
  EXPECT_EQ(UserOf(getpid()), geteuid());
  EXPECT_GT(ResidentBytes(getpid()), 0);
  EXPECT_GT(CpuTimeOf(getpid()).value_or(0), 0);
}

constexpr pid_t kNobody = 1 << 22;  // numbers of processes are below this

TEST(ProcStat, OfNobodyIsNothing) {
  EXPECT_FALSE(ReadStat(kNobody));
  EXPECT_FALSE(CpuTimeOf(kNobody));
  EXPECT_FALSE(ProportionalBytes(kNobody));
  EXPECT_EQ(ResidentBytes(kNobody), 0);
  EXPECT_EQ(UserOf(kNobody), static_cast<uid_t>(-1));
  EXPECT_EQ(StillnessOf(kNobody), Stillness::kStill);
}

// A child of this test alone; ends with it.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) : pid(fork()) {
    if (pid == 0) {
      alarm(60);
      _exit(body());
    }
  }
  ~Child() {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  const pid_t pid;
};

TEST(ProcStat, TheClockOfAProcessIsFinerThanATick) {
  Child child(SpinLong);
  std::int64_t last = 0;
  bool fine = false;
  EXPECT_TRUE(Eventually([&] {
    const std::int64_t now = CpuTimeOf(child.pid).value_or(0);
    EXPECT_GE(now, last);
    fine = fine || now % 1'000'000 != 0;
    last = now;
    return fine && now > 20'000'000;
  }));
}

TEST(ProcStat, AProcessStandsStillWhenAllItsThreadsDo) {
  Child child([] {
    std::thread spinner([] { SpinLong(); });
    return SpinLong();
  });
  ASSERT_TRUE(Eventually([&] { return ReadStat(child.pid)->threads == 2; }));
  EXPECT_EQ(StillnessOf(child.pid), Stillness::kRuns);
  kill(child.pid, SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return StillnessOf(child.pid) == Stillness::kStill; }));
  kill(child.pid, SIGCONT);
  EXPECT_TRUE(Eventually([&] { return StillnessOf(child.pid) == Stillness::kRuns; }));
}

// It shows as a dead process, and its other threads run on.
TEST(ProcStat, AProcessWhoseMainThreadEndedIsNotGone) {
  Child child([] {
    std::thread([] { SpinLong(); }).detach();
    return static_cast<int>(syscall(SYS_exit, 0));
  });
  ASSERT_TRUE(Eventually([&] { return ReadStat(child.pid)->state == 'Z'; }));
  EXPECT_FALSE(ReadStat(child.pid)->gone());
  EXPECT_EQ(StillnessOf(child.pid), Stillness::kRuns);
}

TEST(ProcStat, ADeadProcessIsGoneBeforeItIsReaped) {
  Child child([] { return 0; });
  EXPECT_TRUE(Eventually([&] { return ReadStat(child.pid)->gone(); }));
}

// In a stopped vfork the parent sleeps where no signal wakes it, and will not run before the child
// has.
TEST(ProcStat, AParentInVforkIsHeldWhileItsChildStandsStill) {
  SharedPage page;
  Child child([&page] {
    if (vfork() == 0) {
      page[0] = getpid();
      raise(SIGSTOP);
      _exit(0);
    }
    return SpinLong();
  });
  ASSERT_TRUE(Eventually([&] { return page[0] != 0; }));
  const pid_t inner = static_cast<pid_t>(page[0]);
  ASSERT_TRUE(Eventually([&] { return ReadStat(inner) && ReadStat(inner)->state == 'T'; }));
  EXPECT_EQ(StillnessOf(child.pid), Stillness::kHeld);
  kill(inner, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return StillnessOf(child.pid) == Stillness::kRuns; }));
}

TEST(ProcStat, SharedPagesCountInPart) {
  // Much beside what a sanitizer's runtime takes.
  constexpr std::int64_t kSize = 128 << 20, kMost = kSize / 4 * 3;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  for (std::int64_t at = 0; at < kSize; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  Child child(SleepLong);
  ASSERT_TRUE(Eventually([&] { return ResidentBytes(child.pid) > kMost; }));
  EXPECT_LT(ProportionalBytes(child.pid).value_or(INT64_MAX), kMost);
  munmap(memory, kSize);
}

}  // namespace
}  // namespace mete::cgroup
