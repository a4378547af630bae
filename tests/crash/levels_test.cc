// What the kernel holds for all agents of a tenant together, while an owner of one of them is
// killed (SIGKILL) at the entry of each system call with which it freezes and ends that agent: then
// the tenant's CPU quota is lifted for a moment. Another agent of the tenant runs on all the time.
//
// With the guardian alive the limits are back before the agent is gone. With the guardian killed as
// well they are back after `mete gc`; until then the CPU quota alone may be lifted.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "agent/host.h"
#include "left_behind.h"
#include "traced_process.h"

namespace mete {
namespace {

namespace fs = std::filesystem;

constexpr int kGuardianSeconds = 5;  // docs/run.md
// Ends only when it is killed.
constexpr const char* kProgram = "trap '' TERM; mete report --tokens 5; sleep 1000";

class Levels : public testing::Test {
 protected:
  void SetUp() override {
    const agent::Capabilities seen = host_->Look();
    if (seen.cpu.grade != agent::Grade::kKernel) GTEST_SKIP() << "no CPU quota: " << seen.cpu.how;
    std::string path = testing::TempDir() + "mete-levels-XXXXXX";
    folder_ = mkdtemp(path.data());
    tenant_ = FreshName("tenant");
    mark_ = FreshName("mark");
    setenv("METE_TEST_MARK", mark_.c_str(), 1);
    setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
    const fs::path program(METE_PROGRAM);
    setenv("PATH", (program.parent_path().string() + ":/usr/bin:/bin").c_str(), 1);
    const Output made =
        RunProgram({METE_PROGRAM, "quota", "create", "tenant", tenant_, "--cpu", "300m", "--memory",
                    "200Mi", "--state-dir", folder_ + "/state"});
    ASSERT_EQ(made.status, 0) << made.text;
    StartOther();
  }
  void TearDown() override {
    if (folder_.empty()) return;
    for (pid_t pid : ProcessesWith(mark_)) kill(pid, SIGKILL);
    if (other_ > 0) {
      kill(other_, SIGKILL);
      waitpid(other_, nullptr, 0);
    }
    if (other_group_) {
      EXPECT_TRUE(other_group_->Remove());
    }
    EXPECT_TRUE(GroupsNamed("t-" + tenant_).empty());
    fs::remove_all(folder_);
  }

  // With it the group of the tenant stays, whatever becomes of the agent that is looked at.
  void StartOther() {
    auto made = agent::CreateLeaf(*host_, {tenant_, "", "other", 1}, {});
    ASSERT_TRUE(made) << made.error().ToString();
    other_group_ = *std::move(made);
    other_ = fork();
    if (other_ == 0) {
      other_group_->JoinSelf();
      alarm(600);
      for (;;) pause();
    }
  }

  int Exec(const std::string& id) const {
    const int null = open("/dev/null", O_RDWR);
    for (int fd : {0, 1, 2}) dup2(null, fd);
    execl(METE_PROGRAM, "mete", "run", "--agent", id.c_str(), "--state-dir",
          (folder_ + "/state").c_str(), "--tenant", tenant_.c_str(), "--tokens-per-hour", "1",
          "--on-tokens", "suspend:hard", "--max-suspend", "30ms", "--grace", "20ms", "--quiet",
          "--", "sh", "-c", kProgram, nullptr);
    return 127;
  }

  bool NothingLeft(const std::string& id) {
    return Eventually(
        [&] {
          if (!ProcessesWith(mark_).empty() || !GroupsNamed("a-" + id + ".1").empty()) return false;
          for (const std::string& file : FilesIn(folder_ + "/mete")) {
            if (file.starts_with(id)) return false;
          }
          return true;
        },
        kGuardianSeconds);
  }

  HeldLimits Held() const { return LimitsHeld("t-" + tenant_); }

  // The records and control files of freeze and terminate; the limits of the tenant are written by
  // then. All calls are crash_test.cc's.
  std::vector<KillPoint> Points() {
    const std::string id = FreshName("points");
    TracedProcess process(id, [&] { return Exec(id); });
    std::vector<KillPoint> points = KillPointsOf(process);
    std::erase_if(points, [](const KillPoint& point) {
      const bool is_write = point.name.starts_with("write") || point.name.starts_with("record");
      return point.stage == "spawn" || !is_write;
    });
    EXPECT_TRUE(NothingLeft(id));
    return points;
  }

  void ExpectAsBefore(const HeldLimits& before, const KillPoint& point) {
    const HeldLimits now = Held();
    EXPECT_EQ(now.cpu_us, before.cpu_us) << point.ToString();
    EXPECT_EQ(now.memory, before.memory) << point.ToString();
    EXPECT_EQ(now.pids, before.pids) << point.ToString();
  }

  const std::unique_ptr<agent::Host> host_ = agent::OpenHost();
  std::unique_ptr<agent::Group> other_group_;
  pid_t other_ = -1;
  std::string folder_, tenant_, mark_;
};

TEST_F(Levels, AreNotLoosenedByAKillWithTheGuardianAlive) {
  const std::vector<KillPoint> points = Points();
  const HeldLimits before = Held();
  ASSERT_EQ(before.cpu_us, 30'000);
  ASSERT_TRUE(before.memory && before.pids);
  int met = 0, lifted = 0;
  for (const KillPoint& point : points) {
    const std::string id = FreshName("guarded");
    TracedProcess owner(id, [&] { return Exec(id); });
    if (!RunTo(owner, point)) continue;
    ++met;
    lifted += Held().cpu_us ? 0 : 1;
    owner.Kill();
    ASSERT_TRUE(NothingLeft(id)) << point.ToString();
    ExpectAsBefore(before, point);
  }
  printf("%d points of freeze and terminate, the tenant's CPU quota lifted at %d\n", met, lifted);
  EXPECT_GE(met * 10, static_cast<int>(points.size()) * 9);
  EXPECT_GE(lifted, 2) << "of a freeze, and of a kill";
}

TEST_F(Levels, AreNotLoosenedByAKillWithTheGuardianToo) {
  const std::vector<KillPoint> points = Points();
  const HeldLimits before = Held();
  int met = 0, lifted = 0;
  for (const KillPoint& point : points) {
    const std::string id = FreshName("alone");
    TracedProcess owner(id, [&] { return Exec(id); });
    if (!RunTo(owner, point)) continue;
    ++met;
    if (const pid_t guardian = owner.ChildNamed("mete-guardian")) kill(guardian, SIGKILL);
    owner.Kill();
    const HeldLimits alone = Held();
    lifted += alone.cpu_us ? 0 : 1;
    EXPECT_EQ(alone.memory, before.memory) << point.ToString();
    EXPECT_EQ(alone.pids, before.pids) << point.ToString();
    const Output collected = RunProgram({METE_PROGRAM, "gc", "--json"});
    EXPECT_EQ(collected.status, 0) << collected.text;
    ASSERT_TRUE(NothingLeft(id)) << point.ToString();
    ExpectAsBefore(before, point);
  }
  printf("%d points, the tenant's CPU quota lifted until `mete gc` after %d\n", met, lifted);
  EXPECT_GE(met * 10, static_cast<int>(points.size()) * 9);
  EXPECT_GE(lifted, 2);
}

}  // namespace
}  // namespace mete
