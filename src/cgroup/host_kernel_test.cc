// What only the kernel can do: hold limits. On the control groups of this machine.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "cgroup/cgroup_host.h"
#include "cgroup/fake_host.h"
#include "cgroup/probe.h"
#include "cgroup/test_directories.h"
#include "cgroup/test_group.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::KernelLimits;
using agent::Sample;

constexpr std::int64_t kMiB = 1 << 20;

class KernelHost : public testing::Test {
 protected:
  void SetUp() override {
    host_ = agent::OpenHost();
    seen_ = host_->Look();
    if (seen_.layout == "none") GTEST_SKIP() << "no control groups here: " << seen_.freeze.how;
  }

  static bool Missing(const agent::GradeInfo& info) { return info.grade != Grade::kKernel; }

  std::unique_ptr<agent::Host> host_;
  Capabilities seen_;
};

TEST_F(KernelHost, MemoryOverTheLimitIsKilledAndCounted) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  KernelLimits limits;
  limits.memory_max = 16 * kMiB;
  TestGroup group(*host_, "oom", limits), beside(*host_, "beside", limits);
  ASSERT_TRUE(group && beside);
  TestChild neighbour(*beside, [] { return TouchAndSleep(8 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return beside.Read().memory_bytes >= 8 * kMiB; }));
  TestChild hog(*group, [] { return TouchAndSleep(32 * kMiB); });
  ASSERT_TRUE(group.EventWithin(kSoon));
  const int status = hog.Wait();
  ASSERT_TRUE(WIFSIGNALED(status)) << "it went past its limit";
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  const Sample sample = group.Read();
  EXPECT_LE(sample.memory_peak_bytes, 16 * kMiB);
  EXPECT_GE(sample.memory_peak_bytes, 12 * kMiB);
  EXPECT_GE(sample.oom_kills, 1);
  EXPECT_GE(sample.memory_max_hits, 1);
  const Sample other = beside.Read();
  EXPECT_TRUE(other.populated) << "the neighbour died";
  EXPECT_EQ(other.oom_kills, 0);
}

// A kill inside a group that goes on must be seen too, not only the end of the group.
TEST_F(KernelHost, AKillThatLeavesTheGroupAliveIsAnEventWithItsCount) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  if (seen_.layout == "v2") GTEST_SKIP() << "memory.oom.group ends the whole group on v2";
  KernelLimits limits;
  limits.memory_max = 16 * kMiB;
  TestGroup group(*host_, "partial", limits);
  ASSERT_TRUE(group);
  TestChild parent(*group, [] {
    if (fork() == 0) return TouchAndSleep(32 * kMiB);
    return SleepLong();
  });
  // Only by events: what an owner sees that sleeps on the descriptor.
  bool counted = false;
  for (int events = 0; events < 100 && !counted; ++events) {
    ASSERT_TRUE(group.EventWithin(kSoon)) << "no event after the kill";
    group->DrainEvents();
    counted = group.Read().oom_kills > 0;
  }
  EXPECT_TRUE(counted);
  EXPECT_TRUE(group.Read().populated);
}

TEST_F(KernelHost, TheMemoryLineIsAnEventAndKillsNobody) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  KernelLimits limits;
  limits.memory_max = 64 * kMiB;
  limits.memory_line = 8 * kMiB;
  TestGroup group(*host_, "line", limits);
  ASSERT_TRUE(group);
  TestChild child(*group, [] { return TouchAndSleep(24 * kMiB); });
  bool above = false;
  for (int events = 0; events < 1000 && !above; ++events) {
    ASSERT_TRUE(group.EventWithin(kSoon)) << "the line was passed without an event";
    group->DrainEvents();
    above = group.Read().memory_bytes >= 8 * kMiB - 512 * 1024;
  }
  EXPECT_TRUE(above);
  const Sample sample = group.Read();
  EXPECT_TRUE(sample.populated);
  EXPECT_EQ(sample.oom_kills, 0);
}

TEST_F(KernelHost, ALineBelowUseIsAnEventAtOnce) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  TestGroup group(*host_, "late-line");
  ASSERT_TRUE(group);
  TestChild child(*group, [] { return TouchAndSleep(12 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return group.Read().memory_bytes >= 12 * kMiB; }));
  ASSERT_TRUE(Eventually([&] {
    group->DrainEvents();
    return !group.EventWithin(milliseconds(50));
  }));
  KernelLimits limits;
  limits.memory_line = 4 * kMiB;
  ASSERT_TRUE(group->SetLimits(limits));
  EXPECT_TRUE(group.EventWithin(kSoon));
  group->DrainEvents();
  limits.memory_line.reset();
  ASSERT_TRUE(group->SetLimits(limits));
  EXPECT_FALSE(group.EventWithin(milliseconds(50)));
}

TEST_F(KernelHost, AForkBombIsBoundedFrozenAndKilled) {
  if (Missing(seen_.pids)) GTEST_SKIP() << seen_.pids.how;
  KernelLimits limits;
  limits.pids_max = 64;
  TestGroup group(*host_, "bomb", limits);
  ASSERT_TRUE(group);
  TestChild bomb(*group, [] {
    for (;;) {
      const pid_t pid = fork();
      if (pid == 0) alarm(60);
      if (pid < 0) SleepFor(milliseconds(1));  // the others need to get on as well
    }
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return group.Read().pids == 64; }));
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(group.Read().pids, 64);
    SleepFor(milliseconds(2));
  }
  auto frozen = group->Freeze(kSoon);
  EXPECT_TRUE(frozen) << frozen.error().ToString();
  EXPECT_EQ(group.Read().pids, 64);
  auto killed = group->Kill(kSoon);
  EXPECT_TRUE(killed) << killed.error().ToString();
  EXPECT_FALSE(group.Read().populated);
}

TEST_F(KernelHost, CpuStaysWithinTheQuota) {
  if (Missing(seen_.cpu)) GTEST_SKIP() << seen_.cpu.how;
  KernelLimits limits;
  limits.cpu_nanocores = 200'000'000;
  TestGroup group(*host_, "quota", limits);
  ASSERT_TRUE(group);
  TestChild one(*group, SpinLong), other(*group, SpinLong);
  ASSERT_TRUE(Eventually([&] { return group.Read().cpu_ns > 0; }));
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t before = group.Read().cpu_ns;
  SleepFor(milliseconds(800));
  const std::int64_t used = group.Read().cpu_ns - before;
  const Duration wall = std::chrono::steady_clock::now() - start;
  // One period more than elapsed at either end, and what two cores may take before the next tick.
  const double most = 0.2 * static_cast<double>((wall + milliseconds(200)).count()) + 2 * 10e6;
  EXPECT_GT(used, 0);
  EXPECT_LE(static_cast<double>(used), most);
  EXPECT_TRUE(group->Kill(kSoon));  // before the children are waited for: it lifts the quota
}

TEST_F(KernelHost, AFrozenSpinnerUsesNoCpu) {
  TestGroup group(*host_, "spin");
  ASSERT_TRUE(group);
  TestChild child(*group, SpinLong);
  ASSERT_TRUE(Eventually([&] { return group.Read().cpu_ns > 0; }));
  ASSERT_TRUE(group->Freeze(kSoon));
  const std::int64_t at = group.Read().cpu_ns;
  SleepFor(milliseconds(100));
  // Not exactly nothing: it is announced as frozen a moment before it stops.
  EXPECT_LE(group.Read().cpu_ns - at, 10'000'000);
}

// Without lifting the quota first this takes tens of seconds on some kernels (docs/enforcement.md).
TEST_F(KernelHost, ATinyQuotaDelaysNeitherFreezeNorKill) {
  if (Missing(seen_.cpu)) GTEST_SKIP() << seen_.cpu.how;
  TestGroup group(*host_, "tiny");
  ASSERT_TRUE(group);
  std::vector<std::unique_ptr<TestChild>> children;
  for (int i = 0; i < 16; ++i) children.push_back(std::make_unique<TestChild>(*group, SpinLong));
  KernelLimits limits;
  limits.cpu_nanocores = agent::kMinCpuNanocores;
  ASSERT_TRUE(group->SetLimits(limits));
  auto frozen = group->Freeze(kSoon);
  EXPECT_TRUE(frozen) << frozen.error().ToString();
  const Places places = FindPlaces(ReadLayout());
  const bool v1 = places.cpu.version == Version::kV1;
  const std::string file =
      JoinPath(places.cpu.dir, "mete/" + group->name()) + (v1 ? "/cpu.cfs_quota_us" : "/cpu.max");
  auto quota = [&file] {
    std::string first;
    std::ifstream(file) >> first;
    return first;
  };
  // The quota is back while it is frozen, so a mete that dies now leaves nothing loosened.
  EXPECT_EQ(quota(), "1000");
  EXPECT_TRUE(group->Thaw());
  EXPECT_EQ(quota(), "1000");
  auto killed = group->Kill(kSoon);
  EXPECT_TRUE(killed) << killed.error().ToString();
  EXPECT_EQ(quota(), v1 ? "-1" : "max") << "they had to die on their quota";
}

TEST_F(KernelHost, RemoveLeavesNoDirectoryAlsoNotThoseMadeInside) {
  TestGroup other(*host_, "stays");
  ASSERT_TRUE(other);
  auto made = host_->Create(TestName("gone"), {});
  ASSERT_TRUE(made);
  const std::string name = (*made)->name();
  const std::vector<std::string> directories = DirectoriesOf(name);
  EXPECT_EQ(directories.size(), Bases().size());
  for (const std::string& dir : directories) {
    ASSERT_TRUE(std::filesystem::create_directories(dir + "/inner/most"));
  }
  ASSERT_TRUE((*made)->Remove());
  EXPECT_TRUE(DirectoriesOf(name).empty());
  EXPECT_EQ(DirectoriesOf(other->name()).size(), Bases().size()) << "the wrong group was removed";
}

// A maker that was killed in between left only some of the directories.
TEST_F(KernelHost, HalfAGroupIsFoundAndRemoved) {
  const std::string name = TestName("half");
  const Places places = FindPlaces(ReadLayout());
  std::filesystem::create_directories(JoinPath(places.unified_dir, "mete/" + name));
  auto found = host_->Find(name);
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_FALSE((*found)->Read()->populated);
  EXPECT_TRUE((*found)->Freeze(kSoon));
  EXPECT_TRUE((*found)->Kill(kSoon));
  EXPECT_TRUE((*found)->Remove());
  EXPECT_TRUE(DirectoriesOf(name).empty());
}

TEST_F(KernelHost, LeftoversInV1AreTakenOver) {
  if (seen_.layout != "hybrid") GTEST_SKIP() << "no v1 hierarchies here";
  const std::string name = TestName("leftover");
  const Places places = FindPlaces(ReadLayout());
  for (const ControllerPlace* place : {&places.cpu, &places.memory, &places.pids}) {
    if (place->version != Version::kV1) continue;
    std::filesystem::create_directories(JoinPath(place->dir, "mete/" + name));
  }
  auto made = host_->Create(name, {});
  EXPECT_TRUE(made) << made.error().ToString();
  if (made) {
    EXPECT_TRUE((*made)->Remove());
  }
  RemoveDirectories(name);
  EXPECT_TRUE(DirectoriesOf(name).empty());
}

TEST_F(KernelHost, AProcessThatLeftTheUnifiedGroupOnlyIsKilledToo) {
  if (seen_.layout != "hybrid") GTEST_SKIP() << "there is only one hierarchy to leave";
  TestGroup group(*host_, "escape");
  ASSERT_TRUE(group);
  TestChild child(*group, SleepLong);
  const Places places = FindPlaces(ReadLayout());
  std::ofstream(JoinPath(places.unified_dir, "cgroup.procs")) << child.pid() << std::flush;
  ASSERT_FALSE(group->Contains(child.pid()));
  auto killed = group->Kill(kSoon);
  EXPECT_TRUE(killed) << killed.error().ToString();
  const int status = child.Wait();
  EXPECT_TRUE(WIFSIGNALED(status));
}

// A group inside a group, as a program makes it that starts mete: v1 refuses a quota above the
// outer one, which must not fail a limit that is held all the same.
TEST_F(KernelHost, LessCpuAboveIsNoFailureAndIsHeld) {
  if (seen_.layout != "hybrid") GTEST_SKIP() << "v2 passes no controllers on from inside a group";
  KernelLimits limits;
  limits.cpu_nanocores = 500'000'000;
  TestGroup outer(*host_, "outer", limits);
  ASSERT_TRUE(outer);
  TestChild child(*outer, [] {
    auto host = agent::OpenHost();
    KernelLimits more;
    more.cpu_nanocores = 2'000'000'000;
    auto made = host->Create("inner", more);
    if (!made) return 1;
    std::int64_t quota = 0;
    std::ifstream(FindPlaces(ReadLayout()).cpu.dir + "/mete/inner/cpu.cfs_quota_us") >> quota;
    const bool noted = !host->Look().notes.empty();
    if (!(*made)->Remove()) return 2;
    if (!noted) return 3;
    return quota == 50'000 ? 0 : 4;
  });
  EXPECT_EQ(child.Wait(), 0);
}

// "mete" goes with the last group, so makers and removers meet there.
TEST_F(KernelHost, GroupsComeAndGoAtTheSameTime) {
  std::vector<std::thread> threads;
  std::vector<std::string> failures(4);
  for (std::size_t t = 0; t < failures.size(); ++t) {
    threads.emplace_back([&, t] {
      auto host = agent::OpenHost();
      for (int i = 0; i < 50 && failures[t].empty(); ++i) {
        const std::string name = "test." + std::to_string(getpid()) + ".race." + std::to_string(t) +
                                 "." + std::to_string(i);
        auto made = host->Create(name, {});
        if (!made) {
          failures[t] = made.error().ToString();
        } else if (auto removed = (*made)->Remove(); !removed) {
          failures[t] = removed.error().ToString();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST_F(KernelHost, ProbeAgreesWithWhatItTried) {
  const Capabilities probed = host_->Probe();
  EXPECT_EQ(probed.layout, seen_.layout);
  for (auto info : {&Capabilities::cpu, &Capabilities::memory, &Capabilities::pids,
                    &Capabilities::freeze, &Capabilities::kill}) {
    EXPECT_EQ((probed.*info).grade, (seen_.*info).grade) << (probed.*info).how;
    if (Missing(seen_.*info)) continue;
    EXPECT_TRUE((probed.*info).how.starts_with((seen_.*info).how));
    EXPECT_NE((probed.*info).how, (seen_.*info).how) << "it does not say what was tried";
  }
}

// The fake holds nothing: a probe that believed what is promised would be useless.
TEST(Probe, FindsOutThatNothingIsHeld) {
  FakeHost fake;
  const Capabilities probed = ProbeHost(fake);
  EXPECT_EQ(probed.memory.grade, Grade::kAbsent) << probed.memory.how;
  EXPECT_EQ(probed.pids.grade, Grade::kAbsent) << probed.pids.how;
  EXPECT_EQ(probed.cpu_usage.grade, Grade::kAbsent) << probed.cpu_usage.how;
  EXPECT_EQ(probed.freeze.grade, Grade::kKernel) << probed.freeze.how;
  EXPECT_EQ(probed.kill.grade, Grade::kKernel) << probed.kill.how;
}

TEST(NoHost, SaysWhatIsMissing) {
  CgroupHost host(FindPlaces({}));
  const Capabilities seen = host.Probe();
  EXPECT_EQ(seen.layout, "none");
  for (auto info : {&Capabilities::cpu, &Capabilities::memory, &Capabilities::pids,
                    &Capabilities::freeze, &Capabilities::kill, &Capabilities::cpu_usage}) {
    EXPECT_EQ((seen.*info).grade, Grade::kAbsent);
    EXPECT_NE((seen.*info).how.find("cgroup2"), std::string::npos);
  }
  auto made = host.Create("a", {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kSystem);
  EXPECT_NE(made.error().message.find("mete doctor"), std::string::npos);
  EXPECT_NE(made.error().message.find("cgroup2"), std::string::npos);
  EXPECT_EQ(host.GroupOf(getpid()), agent::OpenHost()->GroupOf(getpid()));
}

}  // namespace
}  // namespace mete::cgroup
