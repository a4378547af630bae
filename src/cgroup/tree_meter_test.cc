#include "cgroup/tree_meter.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup/marked_processes.h"
#include "cgroup/test_group.h"
#include "cgroup/tree_registry.h"

namespace mete::cgroup {
namespace {

using Look = ProcessTree::Look;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kTick = 10'000'000;

// What a forked child has from the start: little, but where a sanitizer keeps its own.
const std::int64_t kOwn = ResidentBytes(getpid());

// Uses this much CPU time, to the moment.
void Burn(std::int64_t nanoseconds) {
  timespec time{};
  do {
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  } while (std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec < nanoseconds);
}

class Meter : public testing::Test {
 protected:
  template <class Body>
  void Start(Body body) {
    root_ = fork();
    if (root_ == 0) {
      alarm(60);
      _exit(MarkSelf(mark_) == 0 ? body() : 127);
    }
    ASSERT_TRUE(Eventually([&] { return MarkOf(root_) == mark_; }));
  }
  void TearDown() override {
    EXPECT_TRUE(tree_.KillAll(ProcessTree::Clock::now() + kSoon));
    waitpid(root_, nullptr, 0);
  }
  std::int64_t Cpu() {
    const std::int64_t now = meter_.CpuTime(tree_.Members(Look::kAll));
    EXPECT_GE(now, last_) << "it fell";
    return last_ = now;
  }
  TreeMeter::Memory Memory() { return meter_.MemoryOf(tree_.Members(Look::kAll)); }

  rlim_t mark_ = NewMark();
  ProcessTree tree_{{mark_}};
  TreeMeter meter_;
  SharedPage page_;
  pid_t root_ = -1;
  std::int64_t last_ = 0;
};

TEST_F(Meter, CountsChildrenThatWereWaitedForOnce) {
  Start([this] {
    for (int i = 0; i < 20; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        Burn(15'000'000);
        _exit(0);
      }
      waitpid(child, nullptr, 0);
    }
    page_[0] = 1;
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return Cpu() >= 0 && page_[0] == 1; }));
  EXPECT_GE(Cpu(), 20 * 15'000'000 - kTick);
  EXPECT_LE(Cpu(), 500'000'000) << "twice 300 ms is 600";
}

// Nobody waits for them: what was seen of them last stays.
TEST_F(Meter, KeepsWhatWasSeenOfThoseThatNobodyWaitsFor) {
  Start([this] {
    signal(SIGCHLD, SIG_IGN);
    for (int i = 1; i <= 3; ++i) {
      if (fork() == 0) {
        Burn(40'000'000);
        page_[i] = 1;
        while (page_[0] == 0) SleepFor(milliseconds(1));
        _exit(0);
      }
    }
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return page_[1] + page_[2] + page_[3] == 3; }));
  const std::int64_t before = Cpu();
  EXPECT_GE(before, 120'000'000);
  page_[0] = 1;
  ASSERT_TRUE(Eventually([&] { return tree_.Members(Look::kAll).size() == 1; }));
  EXPECT_GE(Cpu(), before);
  EXPECT_LE(Cpu(), before + 30'000'000);
}

TEST_F(Meter, CountsWhatThisProcessReaped) {
  meter_.CountReaped();
  Start([] {
    Burn(50'000'000);
    return 0;
  });
  waitpid(root_, nullptr, 0);  // never seen alive
  EXPECT_GE(Cpu(), 50'000'000 - kTick);
  EXPECT_LE(Cpu(), 100'000'000);
  root_ = -1;
}

TEST_F(Meter, MemoryOfOneIsWhatIsResident) {
  Start([] { return TouchAndSleep(24 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return Memory().now >= 24 * kMiB; }));
  EXPECT_LE(Memory().now, 40 * kMiB + kOwn);
  EXPECT_GE(Memory().peak, Memory().now);
}

// A sum of resident memory would be five times as much.
TEST_F(Meter, MemorySharedByAForkCountsOnce) {
  Start([this] {
    constexpr std::size_t kSize = 32 * kMiB;
    void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (std::size_t at = 0; at < kSize; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
    for (int i = 0; i < 4; ++i) {
      if (fork() == 0) return SleepLong();
    }
    page_[0] = 1;
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return page_[0] == 1; }));
  EXPECT_TRUE(
      Eventually([&] { return Memory().now >= 32 * kMiB && Memory().now < 64 * kMiB + kOwn; }));
  const std::int64_t now = Memory().now;
  SleepFor(milliseconds(20));
  EXPECT_LE(std::abs(Memory().now - now), 8 * kMiB);
}

TEST_F(Meter, MemoryThatGrowsIsSeenToGrow) {
  Start([] {
    if (fork() == 0) return SleepLong();
    SleepFor(milliseconds(100));
    return TouchAndSleep(48 * kMiB);
  });
  ASSERT_TRUE(Eventually([&] { return Memory().now >= 48 * kMiB; }));
  EXPECT_LE(Memory().peak, 80 * kMiB + 3 * kOwn);
}

TEST(MeterOfNobody, IsNothing) {
  TreeMeter meter;
  EXPECT_EQ(meter.CpuTime({}), 0);
  EXPECT_EQ(meter.MemoryOf({}).now, 0);
  EXPECT_EQ(meter.MemoryOf({}).peak, 0);
}

}  // namespace
}  // namespace mete::cgroup
