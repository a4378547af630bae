// The owner of an agent is killed (SIGKILL) at the entry of every system call with which it changes
// anything outside of itself while it starts, freezes and ends the agent. Each point is printed
// with what was found after it.
//
// With the guardian alive: nothing is left within its time. With the guardian killed as well: the
// agent stays in its limits, is found by `mete gc`, and nothing is left after that.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "left_behind.h"
#include "traced_process.h"

namespace mete {
namespace {

namespace fs = std::filesystem;

// docs/run.md: the guardian's time.
constexpr int kGuardianSeconds = 5;
constexpr int kDyingSeconds = 2;
constexpr std::int64_t kCpuUs = 50'000;  // 500m of a period of 100 ms
constexpr std::int64_t kMemory = 64 << 20;
constexpr std::int64_t kPids = 32;
// Ends only when it is killed.
constexpr const char* kProgram = "trap '' TERM; mete report --tokens 5; sleep 1000";

class Crash : public testing::Test {
 protected:
  Crash() {
    std::string path = testing::TempDir() + "mete-crash-XXXXXX";
    folder_ = mkdtemp(path.data());
    mark_ = FreshName("mark");
    setenv("METE_TEST_MARK", mark_.c_str(), 1);
    setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
    const fs::path program(METE_PROGRAM);
    setenv("PATH", (program.parent_path().string() + ":/usr/bin:/bin").c_str(), 1);
  }
  ~Crash() override {
    for (pid_t pid : ProcessesWith(mark_)) kill(pid, SIGKILL);
    fs::remove_all(folder_);
  }

  static int Exec(const std::string& id) {
    const int null = open("/dev/null", O_RDWR);
    for (int fd : {0, 1, 2}) dup2(null, fd);
    execl(METE_PROGRAM, "mete", "run", "--agent", id.c_str(), "--cpu", "500m", "--memory", "64Mi",
          "--pids", "32", "--tokens-per-hour", "1", "--on-tokens", "suspend:hard", "--max-suspend",
          "30ms", "--grace", "20ms", "--quiet", "--", "sh", "-c", kProgram, nullptr);
    return 127;
  }

  std::vector<std::string> Left(const std::string& id) {
    std::vector<std::string> left;
    for (pid_t pid : ProcessesWith(mark_)) left.push_back("process " + std::to_string(pid));
    for (const std::string& group : GroupsNamed(id)) left.push_back(group);
    for (const std::string& file : FilesIn(folder_ + "/mete")) {
      if (file.starts_with(id)) left.push_back(file);
    }
    return left;
  }

  bool NothingLeft(const std::string& id, int seconds) {
    return Eventually([&] { return Left(id).empty(); }, seconds);
  }

  std::string LeftText(const std::string& id) {
    std::string text;
    for (const std::string& one : Left(id)) text += " " + one;
    return text;
  }

  static Output Gc(bool dry_run) {
    return RunProgram(dry_run ? std::vector<std::string>{METE_PROGRAM, "gc", "--json", "--dry-run"}
                              : std::vector<std::string>{METE_PROGRAM, "gc", "--json"});
  }

  std::string CheckAlone(const std::string& id);

  std::string folder_, mark_;
};

// A frozen group uses no processor, so its quota may be lifted while it is: whoever thaws it writes
// the limits first.
std::string LoosenedText(const HeldLimits& held) {
  if (!held.populated) return {};
  std::string text;
  if (held.cpu_us.value_or(kCpuUs + 1) > kCpuUs && !held.frozen) text += " cpu";
  if (held.memory.value_or(kMemory + 1) > kMemory) text += " memory";
  if (held.pids.value_or(kPids + 1) > kPids) text += " pids";
  return text;
}

// While nobody has the agent: what was found.
std::string Crash::CheckAlone(const std::string& id) {
  HeldLimits held;
  // Whoever was killed already dies without a quota, which on a busy machine takes a moment; one
  // that runs on without it would run on.
  const bool is_held = Eventually(
      [&] {
        held = LimitsHeld(id);
        return LoosenedText(held).empty();
      },
      kDyingSeconds);
  EXPECT_TRUE(is_held) << "loosened:" << LoosenedText(held);
  const bool there = !GroupsNamed(id).empty();
  const Output seen = Gc(true);
  EXPECT_EQ(seen.status, 0) << seen.text;
  const bool found =
      seen.text.find("\"id\":\"" + id + "\",\"owner\":\"gone\"") != std::string::npos;
  EXPECT_TRUE(found || !there) << "lost: " << seen.text;
  if (!there) return found ? "only a record" : "nothing there";
  if (!held.populated) return "an empty group, found";
  return held.frozen ? "frozen, found" : "running in its limits, found";
}

std::vector<KillPoint> PointsOf(const std::function<int()>& body, const std::string& id) {
  TracedProcess process(id, body);
  return KillPointsOf(process);
}

TEST_F(Crash, AtEveryPointWithTheGuardianToo) {
  const std::string first = FreshName("points");
  const std::vector<KillPoint> points = PointsOf([&] { return Exec(first); }, first);
  ASSERT_GT(points.size(), 20u);
  ASSERT_TRUE(NothingLeft(first, kGuardianSeconds)) << LeftText(first);
  std::set<std::string> stages;
  int met = 0;
  for (const KillPoint& point : points) {
    const std::string id = FreshName("alone");
    TracedProcess owner(id, [&] { return Exec(id); });
    if (!RunTo(owner, point)) {
      printf("%s: not met this time\n", point.ToString().c_str());
      continue;
    }
    ++met;
    stages.insert(point.stage);
    if (const pid_t guardian = owner.ChildNamed("mete-guardian")) kill(guardian, SIGKILL);
    owner.Kill();
    const std::string outcome = CheckAlone(id);
    const Output collected = Gc(false);
    EXPECT_EQ(collected.status, 0) << collected.text;
    // What was cloned and not yet in its group ends by itself.
    ASSERT_TRUE(NothingLeft(id, kGuardianSeconds)) << point.ToString() << LeftText(id);
    printf("%s: %s, settled by gc\n", point.ToString().c_str(), outcome.c_str());
  }
  printf("%d points, of spawn, freeze and terminate\n", met);
  EXPECT_GE(met, 20);
  EXPECT_GE(met * 10, static_cast<int>(points.size()) * 9) << "most of them are met each time";
  EXPECT_EQ(stages.size(), 3u);
}

TEST_F(Crash, AtEveryPointWithTheGuardianAlive) {
  const std::string first = FreshName("points");
  const std::vector<KillPoint> points = PointsOf([&] { return Exec(first); }, first);
  ASSERT_GT(points.size(), 20u);
  int met = 0;
  for (const KillPoint& point : points) {
    const std::string id = FreshName("guarded");
    TracedProcess owner(id, [&] { return Exec(id); });
    if (!RunTo(owner, point)) continue;
    ++met;
    owner.Kill();
    ASSERT_TRUE(NothingLeft(id, kGuardianSeconds)) << point.ToString() << LeftText(id);
  }
  printf("%d points, all settled by the guardian\n", met);
  EXPECT_GE(met, 20);
}

}  // namespace
}  // namespace mete
