// What only the kernel can do with levels: hold limits for sums. On the control groups of this
// machine.

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cgroup/cgroup_host.h"
#include "cgroup/label.h"
#include "cgroup/test_directories.h"
#include "cgroup/test_group.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::GroupId;
using agent::GroupNameOf;
using agent::KernelLimits;
using agent::LevelLimits;

constexpr std::int64_t kMiB = 1 << 20;

class KernelLevels : public testing::Test {
 protected:
  KernelLevels() : host_(FindPlaces(ReadLayout())) {}
  void SetUp() override {
    seen_ = host_.Look();
    if (seen_.layout == "none") GTEST_SKIP() << "no control groups here: " << seen_.freeze.how;
    tenant_ = TestName("tenant");
  }

  GroupId Id(const std::string& agent) const { return {tenant_, "s", agent, 1}; }
  TestGroup Leaf(const std::string& agent, const KernelLimits& limits = {},
                 const LevelLimits& levels = {}) {
    return TestGroup(agent::CreateLeaf(host_, Id(agent), limits, levels));
  }
  std::unique_ptr<agent::Group> Level(const std::string& session) {
    auto found = host_.Find(GroupNameOf({tenant_, session, "", 1}));
    EXPECT_TRUE(found.has_value());
    return found ? *std::move(found) : nullptr;
  }
  static bool Missing(const agent::GradeInfo& info) { return info.grade != Grade::kKernel; }
  // The text of a file of the CPU controller.
  std::string CpuFile(const std::string& group, const char* v1, const char* v2) const {
    const Places places = FindPlaces(ReadLayout());
    std::string text;
    std::ifstream(JoinPath(places.cpu.dir, "mete/" + group) + "/" +
                  (places.cpu.version == Version::kV1 ? v1 : v2)) >>
        text;
    return text;
  }
  std::string Quota(const std::string& group) const {
    return CpuFile(group, "cpu.cfs_quota_us", "cpu.max");
  }

  CgroupHost host_;
  Capabilities seen_;
  std::string tenant_;
};

TEST_F(KernelLevels, MemoryOfAllAgentsTogetherStaysWithinTheTenants) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  KernelLimits tenant;
  tenant.memory_max = 24 * kMiB;
  TestGroup one = Leaf("one", {}, {tenant, {}}), other = Leaf("other");
  ASSERT_TRUE(one && other);
  TestChild first(*one, [] { return TouchAndSleep(16 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return one.Read().memory_bytes >= 16 * kMiB; }));
  auto level = Level("");
  // Each is within what the tenant has; together they are not, and the kernel chooses who ends.
  TestChild second(*other, [] { return TouchAndSleep(16 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return !one.Read().populated || !other.Read().populated; }));
  EXPECT_TRUE(one.Read().populated != other.Read().populated) << "both were ended";
  EXPECT_LE(level->Read()->memory_peak_bytes, 24 * kMiB);
  EXPECT_GE(one.Read().oom_kills + other.Read().oom_kills, 1);
}

TEST_F(KernelLevels, CpuOfAllAgentsTogetherStaysWithinTheTenants) {
  if (Missing(seen_.cpu)) GTEST_SKIP() << seen_.cpu.how;
  KernelLimits tenant, leaf;
  tenant.cpu_nanocores = 200'000'000;
  TestGroup one = Leaf("one", {}, {tenant, {}}), other = Leaf("other");
  ASSERT_TRUE(one && other);
  TestChild first(*one, SpinLong), second(*other, SpinLong);
  auto level = Level("");
  ASSERT_TRUE(Eventually([&] { return *level->ReadCpu() > 0; }));
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t before = *level->ReadCpu();
  SleepFor(milliseconds(800));
  const std::int64_t used = *level->ReadCpu() - before;
  const Duration wall = std::chrono::steady_clock::now() - start;
  // One period more than elapsed at either end, and what two cores may take before the next tick.
  const double most = 0.2 * static_cast<double>((wall + milliseconds(200)).count()) + 2 * 10e6;
  EXPECT_GT(used, 0);
  EXPECT_LE(static_cast<double>(used), most);
  EXPECT_TRUE(level->Kill(kSoon));
}

TEST_F(KernelLevels, ProcessesOfAllAgentsTogetherStayWithinTheSessions) {
  if (Missing(seen_.pids)) GTEST_SKIP() << seen_.pids.how;
  KernelLimits session;
  session.pids_max = 12;
  TestGroup one = Leaf("one", {}, {{}, session}), other = Leaf("other");
  ASSERT_TRUE(one && other);
  const auto fork_on = [] {
    for (;;) {
      const pid_t pid = fork();
      if (pid == 0) {
        alarm(60);
        SleepLong();
      }
      if (pid < 0) SleepFor(milliseconds(1));
    }
    return 0;
  };
  TestChild first(*one, fork_on);
  auto level = Level("s");
  ASSERT_TRUE(Eventually([&] { return level->Read()->pids == 12; }));
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(level->Read()->pids, 12);
    SleepFor(milliseconds(2));
  }
  EXPECT_TRUE(level->Kill(kSoon));
}

TEST_F(KernelLevels, AForkThatIsRefusedIsAnEventWithItsCount) {
  if (Missing(seen_.pids)) GTEST_SKIP() << seen_.pids.how;
  KernelLimits limits;
  limits.pids_max = 2;
  TestGroup group = Leaf("one", limits);
  ASSERT_TRUE(group);
  SharedPage page;
  TestChild child(*group, [&page] {
    if (fork() == 0) {
      alarm(60);
      SleepLong();
    }
    while (page[0] == 0) SleepFor(milliseconds(1));
    if (fork() == 0) SleepLong();
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] { return group.Read().pids == 2; }));
  ASSERT_TRUE(Eventually([&] {
    group->DrainEvents();
    return !group.EventWithin(milliseconds(50));
  }));
  EXPECT_EQ(group.Read().pids_max_hits, 0);
  page[0] = 1;
  const auto counted = [&] { return group.Read().pids_max_hits == 1; };
  if (FindPlaces(ReadLayout()).pids.version == Version::kV1) {  // which counts, and tells nobody
    EXPECT_TRUE(Eventually(counted));
    return;
  }
  for (int events = 0; events < 100 && !counted(); ++events) {
    ASSERT_TRUE(group.EventWithin(kSoon)) << "no event after the refusal";
    group->DrainEvents();
  }
  EXPECT_TRUE(counted());
}

// As slow as a tiny quota of the agent's own: 683 ms in the median for the kill of 16 spinners.
TEST_F(KernelLevels, ATinyQuotaAboveOrBelowDelaysNeitherFreezeNorKill) {
  if (Missing(seen_.cpu)) GTEST_SKIP() << seen_.cpu.how;
  KernelLimits tiny;
  tiny.cpu_nanocores = agent::kMinCpuNanocores;
  TestGroup group = Leaf("one", tiny);
  ASSERT_TRUE(group);
  auto tenant = Level("");
  const std::string leaf_name = group->name(), tenant_name = tenant->name();
  ASSERT_TRUE(group->SetLimits({}));
  std::vector<std::unique_ptr<TestChild>> children;
  for (int i = 0; i < 16; ++i) children.push_back(std::make_unique<TestChild>(*group, SpinLong));
  ASSERT_TRUE(tenant->SetLimits(tiny));
  auto frozen = group->Freeze(kSoon);
  EXPECT_TRUE(frozen) << frozen.error().ToString();
  EXPECT_EQ(Quota(tenant_name), "1000") << "the freeze of an agent loosened its tenant";
  EXPECT_TRUE(group->Thaw());

  ASSERT_TRUE(group->SetLimits(tiny));
  frozen = tenant->Freeze(kSoon);
  EXPECT_TRUE(frozen) << frozen.error().ToString();
  EXPECT_EQ(Quota(tenant_name), "1000");
  EXPECT_EQ(Quota(leaf_name), "1000") << "the freeze of a tenant loosened its agents";
  EXPECT_TRUE(tenant->Thaw());

  auto killed = group->Kill(kSoon);
  EXPECT_TRUE(killed) << killed.error().ToString();
  EXPECT_EQ(Quota(tenant_name), "1000") << "the kill of an agent loosened its tenant";
}

TEST_F(KernelLevels, ALowerQuotaAboveLowersThoseBelow) {
  if (Missing(seen_.cpu)) GTEST_SKIP() << seen_.cpu.how;
  KernelLimits leaf, tenant;
  leaf.cpu_nanocores = 2'000'000'000;
  tenant.cpu_nanocores = 500'000'000;
  TestGroup group = Leaf("one", leaf);
  ASSERT_TRUE(group);
  auto level = Level("");
  auto set = level->SetLimits(tenant);
  ASSERT_TRUE(set) << set.error().ToString();
  EXPECT_EQ(Quota(level->name()), "50000");
  EXPECT_EQ(group->Effective()->cpu_nanocores.value, 500'000'000);
  ASSERT_TRUE(group->SetLimits(leaf)) << "less above is no failure of a limit";
  EXPECT_EQ(group->Effective()->cpu_nanocores.value, 500'000'000);
  tenant.cpu_nanocores = 4'000'000'000;
  ASSERT_TRUE(level->SetLimits(tenant));
  ASSERT_TRUE(group->SetLimits(leaf));
  EXPECT_EQ(group->Effective()->cpu_nanocores.value, 2'000'000'000);
}

TEST_F(KernelLevels, ATenantsMemoryLimitIsNotWrittenBelowItsUse) {
  if (Missing(seen_.memory)) GTEST_SKIP() << seen_.memory.how;
  TestGroup group = Leaf("one");
  ASSERT_TRUE(group);
  TestChild child(*group, [] { return TouchAndSleep(12 * kMiB); });
  ASSERT_TRUE(Eventually([&] { return group.Read().memory_bytes >= 12 * kMiB; }));
  auto level = Level("");
  KernelLimits limits;
  limits.memory_max = 8 * kMiB;
  limits.pids_max = 77;
  auto set = level->SetLimits(limits);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kUpdateFailed);
  EXPECT_EQ(level->Effective()->memory_max.own, false) << "half of a change was left";
  EXPECT_NE(level->Effective()->pids_max.value, 77);
  EXPECT_TRUE(group.Read().populated);
  limits.memory_max = 64 * kMiB;
  EXPECT_TRUE(level->SetLimits(limits));
  EXPECT_EQ(level->Effective()->memory_max.value, 64 * kMiB);
}

// The last agent of a level takes it along, so makers and removers meet there.
TEST_F(KernelLevels, AgentsOfOneSessionComeAndGoAtTheSameTime) {
  std::vector<std::thread> threads;
  std::vector<std::string> failures(4);
  for (std::size_t t = 0; t < failures.size(); ++t) {
    threads.emplace_back([&, t] {
      CgroupHost host(FindPlaces(ReadLayout()));
      KernelLimits session;
      session.pids_max = 100;
      for (std::uint64_t i = 1; i <= 40 && failures[t].empty(); ++i) {
        auto made =
            agent::CreateLeaf(host, {tenant_, "s", std::to_string(t), i}, {}, {{}, session});
        if (!made) {
          failures[t] = made.error().ToString();
        } else if (auto limit = (*made)->Effective()->pids_max; limit.value != 100) {
          failures[t] = "the session's limit was not there";
        } else if (auto removed = (*made)->Remove(); !removed) {
          failures[t] = removed.error().ToString();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  const auto left = host_.Scan();
  for (const agent::FoundGroup& group : *left) {
    EXPECT_EQ(group.name.find(tenant_), std::string::npos) << "left behind: " << group.name;
  }
}

TEST_F(KernelLevels, DirectoriesThatAnAgentMadeAreNoGroupsOfMete) {
  TestGroup group = Leaf("one");
  ASSERT_TRUE(group);
  const std::size_t before = host_.Scan()->size();
  for (const std::string& dir : DirectoriesOf(group->name())) {
    ASSERT_TRUE(std::filesystem::create_directories(dir + "/a-inner.1/s-most"));
  }
  EXPECT_EQ(host_.Scan()->size(), before);
  TestChild child(*group, [] {
    std::ofstream(FindPlaces(ReadLayout()).unified_dir + "/a-inner.1/cgroup.procs") << getpid();
    return SleepLong();
  });
  ASSERT_TRUE(Eventually([&] {
    std::ifstream text("/proc/" + std::to_string(child.pid()) + "/cgroup");
    return std::string(std::istreambuf_iterator<char>(text), {}).find("a-inner.1") !=
           std::string::npos;
  }));
  EXPECT_EQ(host_.GroupOf(child.pid()), group->name());
  EXPECT_TRUE(group->Contains(child.pid()));
}

// What runs in an agent of a tenant gets no groups beside it, not even as deep as it is.
TEST_F(KernelLevels, InsideAnAgentGroupsAreMadeInsideIt) {
  TestGroup group = Leaf("one");
  ASSERT_TRUE(group);
  TestChild child(*group, [&group] {
    const std::string own = "/mete/" + group->name();
    return FindPlaces(ReadLayout()).unified_path.ends_with(own) ? 0 : 1;
  });
  EXPECT_EQ(child.Wait(), 0);
}

}  // namespace
}  // namespace mete::cgroup
