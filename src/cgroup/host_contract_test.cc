// What every host promises, tried on the control groups of this machine, on trees of processes
// without any, and on the fake.

#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "cgroup/fake_host.h"
#include "cgroup/process_tree_host.h"
#include "cgroup/test_group.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

using agent::Group;
using agent::KernelLimits;
using agent::Sample;

class HostContract : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("fake")) {
      auto fake = std::make_unique<FakeHost>();
      fake_ = fake.get();
      host_ = std::move(fake);
    } else if (GetParam() == std::string("processes")) {
      folder_.Dir("run");
      host_ = std::make_unique<ProcessTreeHost>(folder_.path("run"), "a test says so");
      const agent::Capabilities seen = host_->Look();
      if (seen.layout == "none") GTEST_SKIP() << "no trees of processes here: " << seen.kill.how;
    } else {
      host_ = agent::OpenHost();
      const agent::Capabilities seen = host_->Look();
      if (seen.freeze.grade != agent::Grade::kKernel) {
        GTEST_SKIP() << "no control groups here: " << seen.freeze.how;
      }
    }
  }

  TestTree folder_;
  std::unique_ptr<agent::Host> host_;
  FakeHost* fake_ = nullptr;  // null on the real one
};

TEST_P(HostContract, AFreshGroupIsEmpty) {
  TestGroup group(*host_, "fresh");
  ASSERT_TRUE(group);
  const Sample sample = group.Read();
  EXPECT_FALSE(sample.populated);
  EXPECT_FALSE(sample.frozen);
  EXPECT_EQ(sample.pids, 0);
  EXPECT_EQ(sample.cpu_ns, 0);
  EXPECT_EQ(sample.oom_kills, 0);
  EXPECT_EQ(sample.memory_max_hits, 0);
  EXPECT_FALSE(group->Contains(getpid()));
  EXPECT_FALSE(group.EventWithin(milliseconds(0)));
}

TEST_P(HostContract, ANameInUseIsRefusedAndFreeAgainAfterRemove) {
  const std::string name = TestName("twice");
  auto first = host_->Create(name, {});
  ASSERT_TRUE(first);
  EXPECT_EQ((*first)->name(), name);
  auto second = host_->Create(name, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE((*first)->Read()) << "the refusal must not touch the group that is there";
  EXPECT_TRUE((*first)->Remove());
  EXPECT_TRUE((*first)->Remove()) << "safe to repeat";
  EXPECT_FALSE((*first)->Read());
  auto third = host_->Create(name, {});
  ASSERT_TRUE(third) << third.error().ToString();
  EXPECT_TRUE((*third)->Remove());
}

TEST_P(HostContract, OddNamesAreRefused) {
  const std::string odd[] = {"", ".", "..", "../x", "a/b", "a b", "a\n", std::string(256, 'x')};
  for (const std::string& name : odd) {
    auto made = host_->Create(name, {});
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  }
  const std::string longest(255, 'x');
  auto made = host_->Create(longest, {});
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_TRUE((*made)->Remove());
}

TEST_P(HostContract, LimitsOutOfRangeAreRefusedAndLeaveNothing) {
  const std::string name = TestName("range");
  KernelLimits limits;
  limits.pids_max = 0;
  auto made = host_->Create(name, limits);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  made = host_->Create(name, {});
  ASSERT_TRUE(made) << "the name was taken by a group that was refused";
  limits = {};
  limits.cpu_nanocores = agent::kMinCpuNanocores - 1;
  auto set = (*made)->SetLimits(limits);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE((*made)->Remove());
}

TEST_P(HostContract, AProcessThatJoinedIsContainedAlsoAfterExecAndItsChildren) {
  TestGroup group(*host_, "join");
  ASSERT_TRUE(group);
  TestChild child(*group, [] {
    execlp("sh", "sh", "-c", "sleep 50 & wait", nullptr);
    return 1;
  });
  ASSERT_TRUE(Eventually([&] { return group.Read().pids == 2; }));
  EXPECT_TRUE(group.Read().populated);
  EXPECT_TRUE(group->Contains(child.pid()));
  EXPECT_EQ(host_->GroupOf(child.pid()), group->name());
  EXPECT_NE(host_->GroupOf(getpid()), group->name());
  EXPECT_EQ(host_->GroupOf(-1), std::nullopt);
  EXPECT_EQ(host_->GroupOf(INT32_MAX), std::nullopt);
}

TEST_P(HostContract, AProcessMadeInTheGroupIsContained) {
  TestGroup group(*host_, "clone");
  ASSERT_TRUE(group);
  SharedPage page;
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  const bool clones = group->CloneFd() >= 0;
  arguments.cgroup = static_cast<std::uint64_t>(group->CloneFd());
  const auto pid =
      clones ? static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments)) : fork();
  if (pid == 0) {
    alarm(60);
    page[0] = group->JoinRest() == 0 ? 1 : 2;
    _exit(SleepLong());
  }
  if (pid < 0) GTEST_SKIP() << "no clone3 into a group here: " << strerror(errno);
  EXPECT_TRUE(Eventually([&] { return page[0] == 1; }));
  EXPECT_TRUE(group->Contains(pid));
  EXPECT_EQ(host_->GroupOf(pid), group->name());
  EXPECT_GE(group.Read().pids, 1);
  EXPECT_TRUE(group->Kill(kSoon));
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

TEST_P(HostContract, TheLastExitIsAnEvent) {
  TestGroup group(*host_, "empty");
  ASSERT_TRUE(group);
  TestChild child(*group, SleepLong);
  EXPECT_TRUE(group.Read().populated);
  // The kernel may announce the entry late; what counts is that it is quiet after a drain.
  ASSERT_TRUE(Eventually([&] {
    group->DrainEvents();
    return !group.EventWithin(milliseconds(50));
  }));
  child.End();
  ASSERT_TRUE(group.EventWithin(kSoon));
  group->DrainEvents();
  EXPECT_TRUE(Eventually([&] { return !group.Read().populated; }));
  EXPECT_TRUE(Eventually([&] {
    group->DrainEvents();
    return !group.EventWithin(milliseconds(50));
  }));
}

TEST_P(HostContract, FreezeStopsAndThawGoesOn) {
  TestGroup group(*host_, "freeze");
  ASSERT_TRUE(group);
  SharedPage page;
  auto count = [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  };
  TestChild one(*group, count), other(*group, SleepLong);
  ASSERT_TRUE(Eventually([&] { return page[0] > 0; }));
  for (int round = 0; round < 3; ++round) {
    auto frozen = group->Freeze(kSoon);
    ASSERT_TRUE(frozen) << frozen.error().ToString();
    EXPECT_TRUE(group.Read().frozen);
    const long at = page[0];
    SleepFor(milliseconds(30));
    EXPECT_EQ(page[0], at) << "a frozen process ran";
    EXPECT_TRUE(group->Freeze(kSoon)) << "freezing what is frozen";
    ASSERT_TRUE(group->Thaw());
    EXPECT_TRUE(Eventually([&] { return page[0] > at; })) << "a thawed process did not run";
    EXPECT_TRUE(group->Thaw()) << "thawing what runs";
  }
  EXPECT_TRUE(Eventually([&] { return !group.Read().frozen; }));
}

TEST_P(HostContract, AnEmptyGroupCanBeFrozenThawedKilledAndSignalled) {
  TestGroup group(*host_, "nobody");
  ASSERT_TRUE(group);
  EXPECT_TRUE(group->Freeze(kSoon));
  EXPECT_TRUE(group.Read().frozen);
  EXPECT_TRUE(group->Thaw());
  EXPECT_TRUE(group->Signal(SIGTERM));
  EXPECT_TRUE(group->Kill(kSoon));
  EXPECT_TRUE(group->Kill(Duration(0)));
}

TEST_P(HostContract, ASignalReachesEveryProcessAndWaitsForTheThaw) {
  TestGroup group(*host_, "signal");
  ASSERT_TRUE(group);
  SharedPage page;
  static SharedPage* shared;
  shared = &page;
  auto wait_for_signal = [](int index) {
    static int mine;
    mine = index;
    signal(SIGUSR1, [](int) { (*shared)[mine] = 1; });
    (*shared)[10 + index] = 1;
    return SleepLong();
  };
  TestChild one(*group, [&] { return wait_for_signal(1); });
  TestChild other(*group, [&] { return wait_for_signal(2); });
  ASSERT_TRUE(Eventually([&] { return page[11] == 1 && page[12] == 1; }));
  ASSERT_TRUE(group->Freeze(kSoon));
  ASSERT_TRUE(group->Signal(SIGUSR1));
  SleepFor(milliseconds(30));
  EXPECT_EQ(page[1] + page[2], 0) << "a frozen process handled a signal";
  ASSERT_TRUE(group->Thaw());
  EXPECT_TRUE(Eventually([&] { return page[1] + page[2] == 2; }));
  for (int bad : {0, -1, SIGRTMAX + 1}) {
    auto sent = group->Signal(bad);
    ASSERT_FALSE(sent) << bad;
    EXPECT_EQ(sent.error().code, ErrorCode::kInvalidArgument);
  }
}

// A tree that tries not to be found: a new session, orphans of a double fork, signals ignored.
int StubbornTree() {
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
  return SleepLong();
}

TEST_P(HostContract, KillFindsSessionsOrphansAndIgnorers) {
  for (bool frozen : {false, true}) {
    SCOPED_TRACE(frozen ? "frozen" : "running");
    TestGroup group(*host_, "stubborn");
    ASSERT_TRUE(group);
    TestChild child(*group, StubbornTree);
    // The parent, and three orphans; the ones in between may take a moment to end.
    ASSERT_TRUE(Eventually([&] { return group.Read().pids >= 4; }));
    ASSERT_TRUE(group->Signal(SIGHUP));
    if (frozen) {
      ASSERT_TRUE(group->Freeze(kSoon));
    }
    auto killed = group->Kill(kSoon);
    ASSERT_TRUE(killed) << killed.error().ToString();
    EXPECT_FALSE(group.Read().populated);
    // Dead children that nobody waited for yet are no obstacle.
    EXPECT_TRUE(group->Remove());
    EXPECT_TRUE(WIFSIGNALED(child.Wait()));
  }
}

TEST_P(HostContract, AGroupWithProcessesIsNotRemoved) {
  TestGroup group(*host_, "in-use");
  ASSERT_TRUE(group);
  TestChild child(*group, SleepLong);
  EXPECT_TRUE(group.Read().populated);
  auto removed = group->Remove();
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::kInUse);
  EXPECT_TRUE(group->Contains(child.pid())) << "a refused Remove must change nothing";
}

TEST_P(HostContract, NeighboursAreLeftAlone) {
  TestGroup left(*host_, "left"), right(*host_, "right");
  ASSERT_TRUE(left && right);
  SharedPage page;
  TestChild victim(*left, SleepLong);
  TestChild neighbour(*right, [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return page[0] > 0; }));
  ASSERT_TRUE(left->Freeze(kSoon));
  const long at = page[0];
  EXPECT_TRUE(Eventually([&] { return page[0] > at; })) << "the neighbour was frozen";
  EXPECT_FALSE(right.Read().frozen);
  ASSERT_TRUE(left->Kill(kSoon));
  EXPECT_TRUE(right.Read().populated);
  EXPECT_EQ(kill(neighbour.pid(), 0), 0);
  EXPECT_FALSE(left->Contains(neighbour.pid()));
  EXPECT_TRUE(right->Contains(neighbour.pid()));
}

TEST_P(HostContract, AMemoryLimitBelowUseIsRefusedAndTheOldOneStays) {
  if (host_->Look().memory.grade != agent::Grade::kKernel) {
    KernelLimits limits;
    limits.memory_max = 64 << 20;
    EXPECT_EQ(host_->Create(TestName("memory"), limits).error().code, ErrorCode::kSystem);
    return;  // no group holds memory here: a limit is refused, not dropped
  }
  if (fake_ != nullptr) {
    fake_->meter = [](std::string_view, Sample& sample) { sample.memory_bytes = 16 << 20; };
  }
  KernelLimits limits;
  limits.memory_max = 64 << 20;
  TestGroup group(*host_, "below", limits);
  ASSERT_TRUE(group);
  TestChild child(*group, [] { return TouchAndSleep(12 << 20); });
  ASSERT_TRUE(Eventually([&] {
    const Sample sample = group.Read();
    return sample.populated && sample.memory_bytes >= 12 << 20;
  }));
  limits.memory_max = 4 << 20;
  auto set = group->SetLimits(limits);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kUpdateFailed);
  EXPECT_NE(set.error().message.find("in use"), std::string::npos);
  EXPECT_TRUE(group.Read().populated) << "the refusal killed the program";
  limits.memory_max = 48 << 20;
  EXPECT_TRUE(group->SetLimits(limits));
  limits.memory_max = 96 << 20;
  EXPECT_TRUE(group->SetLimits(limits));
  limits.memory_max.reset();
  EXPECT_TRUE(group->SetLimits(limits));
}

TEST_P(HostContract, AGroupOutlivesItsHandleAndIsFoundAgain) {
  const std::string name = TestName("outlives");
  EXPECT_EQ(host_->Find(name).error().code, ErrorCode::kNotFound);
  auto made = host_->Create(name, {});
  ASSERT_TRUE(made);
  TestChild child(**made, SleepLong);
  made->reset();
  EXPECT_EQ(kill(child.pid(), 0), 0);
  EXPECT_EQ(host_->GroupOf(child.pid()), name);
  auto again = host_->Create(name, {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kAlreadyExists);

  auto found = host_->Find(name);
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_EQ((*found)->name(), name);
  EXPECT_TRUE((*found)->Contains(child.pid()));
  EXPECT_TRUE((*found)->Read()->populated);
  EXPECT_TRUE((*found)->Freeze(kSoon));
  EXPECT_TRUE((*found)->Kill(kSoon));
  EXPECT_TRUE(WIFSIGNALED(child.Wait()));
  EXPECT_TRUE((*found)->Remove());
  EXPECT_EQ(host_->Find(name).error().code, ErrorCode::kNotFound);
}

TEST_P(HostContract, FindRefusesOddNames) {
  for (const char* name : {".", "..", "../x", "a/b"}) {
    auto found = host_->Find(name);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code, ErrorCode::kInvalidArgument) << found.error().ToString();
  }
}

TEST_P(HostContract, ADeadlineOfNothingFailsWithoutATrace) {
  TestGroup group(*host_, "deadline");
  ASSERT_TRUE(group);
  SharedPage page;
  TestChild child(*group, [&page] {
    for (;;) page[0] = page[0] + 1;
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return page[0] > 0; }));
  for (int round = 0; round < 20; ++round) {
    auto frozen = group->Freeze(Duration(0));
    if (frozen) {
      ASSERT_TRUE(group->Thaw());  // it was quick enough
    } else {
      EXPECT_EQ(frozen.error().code, ErrorCode::kSuspendFailed);
    }
    const long at = page[0];
    EXPECT_TRUE(Eventually([&] { return page[0] > at; })) << "left frozen after a failure";
  }
}

INSTANTIATE_TEST_SUITE_P(Hosts, HostContract, testing::Values("kernel", "processes", "fake"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace mete::cgroup
