// What goes wrong between mete and control groups is reported with its file and the kernel's
// reason, and leaves nothing behind. By real means where there are some: mounts in a namespace of a
// child's own, and limits on the number of groups.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "base/unique_fd.h"
#include "cgroup/cgroup_host.h"
#include "cgroup/label.h"
#include "cgroup/test_directories.h"
#include "cgroup/test_group.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

using agent::Grade;
using agent::GroupId;

using agent::KernelLimits;

// Runs the body in a child and gives back the text that it returns.
std::string InChild(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const std::string text = body();
    _exit(write(to.get(), text.data(), text.size()) >= 0 ? 0 : 1);
  }
  to.reset();
  std::string text;
  std::array<char, 4096> piece;
  for (ssize_t got; (got = read(from.get(), piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0 ? text : text + " (the child failed)";
}

constexpr const char* kNoNamespace = "no mount namespace";

// In a child: what is mounted there is read-only for it from now on.
bool MakeReadOnly(const std::string& mount_point) {
  const char* path = mount_point.c_str();
  return unshare(CLONE_NEWNS) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount(path, path, nullptr, MS_BIND, nullptr) == 0 &&
         mount(nullptr, path, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
}

std::string TextOf(const Result<std::unique_ptr<agent::Group>>& made) {
  return made ? "it was made" : made.error().ToString();
}

class Faults : public testing::Test {
 protected:
  void SetUp() override {
    layout_ = ReadLayout();
    places_ = FindPlaces(layout_);
    if (!places_.missing.empty()) GTEST_SKIP() << "no control groups here: " << places_.missing;
  }

  Layout layout_;
  Places places_;
};

TEST_F(Faults, AReadOnlyHierarchyIsNamed) {
  const std::string name = TestName("readonly");
  const std::string text = InChild([&] {
    if (!MakeReadOnly(layout_.unified->mount)) return std::string(kNoNamespace);
    // Found out at once by who looks, and at the making by who looked before.
    return FindPlaces(ReadLayout()).missing + "\n" + TextOf(CgroupHost(places_).Create(name, {}));
  });
  if (text == kNoNamespace) GTEST_SKIP() << "no mounts can be made here";
  EXPECT_TRUE(text.starts_with("no permission to make groups in " + places_.unified_dir +
                               ": Read-only file system\n"))
      << text;
  EXPECT_NE(text.find("no group can be made at " + places_.unified_dir + "/mete"),
            std::string::npos)
      << text;
  EXPECT_TRUE(text.ends_with(": Read-only file system")) << text;
  EXPECT_TRUE(DirectoriesOf(name).empty());
}

TEST_F(Faults, OneReadOnlyHierarchyOfSeveralLeavesNothingInTheOthers) {
  if (places_.memory.version != Version::kV1) GTEST_SKIP() << "memory has no hierarchy of its own";
  const std::string name = TestName("one-readonly");
  const std::string text = InChild([&] {
    if (!MakeReadOnly(layout_.memory->mount)) return std::string(kNoNamespace);
    const Places seen = FindPlaces(ReadLayout());
    CgroupHost host(seen);
    KernelLimits limits;
    limits.memory_max = 64 << 20;
    return seen.missing + seen.memory.why + "\n" + host.Look().memory.how + "\n" +
           TextOf(host.Create(name, limits)) + "\n" + TextOf(CgroupHost(places_).Create(name, {}));
  });
  if (text == kNoNamespace) GTEST_SKIP() << "no mounts can be made here";
  std::array<std::string, 4> lines;
  std::istringstream all(text);
  for (std::string& line : lines) std::getline(all, line);
  const std::string reason = places_.memory.dir + ": Read-only file system";
  EXPECT_TRUE(lines[0].ends_with(reason)) << text;
  EXPECT_TRUE(lines[1].ends_with(reason)) << text;
  EXPECT_NE(lines[2].find("memory_max cannot be held"), std::string::npos) << text;
  EXPECT_NE(lines[3].find("no group can be made at " + places_.memory.dir), std::string::npos)
      << text;
  EXPECT_TRUE(DirectoriesOf(name).empty());
}

// The places in a group that the caller is in. On v2 groups are made further up, where controllers
// are passed on; the kernel's bounds on their number hold without controllers too.
Places PlacesIn(const Places& places, const std::string& name) {
  if (places.hybrid()) return FindPlaces(ReadLayout());
  Places own = places;
  own.unified_dir = JoinPath(places.unified_dir, name);
  own.unified_path = JoinPath(places.unified_path, name);
  own.cpu = own.memory = own.pids = {Version::kNone, "", "", "not passed on to this group"};
  return own;
}

// In a group of its own, so that a limit on the number of groups there is nobody else's.
std::string InBoundedGroup(const Places& places, const char* file, const char* limit,
                           const GroupId& id) {
  const std::string name = TestName("bounded");
  const std::string group = JoinPath(places.unified_dir, name);
  if (mkdir(group.c_str(), 0755) != 0) return "no group";
  const std::string text = InChild([&]() -> std::string {
    std::ofstream(group + "/cgroup.procs") << getpid();
    std::ofstream(group + "/" + file) << limit;
    const Places own = PlacesIn(places, name);
    if (!own.unified_dir.ends_with("/" + name)) return "not in the group";
    CgroupHost host(own);
    const std::string made = TextOf(agent::CreateLeaf(host, id, {}));
    return made + "\n" +
           (std::filesystem::exists(group + "/mete") ? "left behind" : "nothing left");
  });
  for (int i = 0; i < 100 && rmdir(group.c_str()) != 0; ++i) SleepFor(milliseconds(10));
  return text;
}

TEST_F(Faults, TooManyOrTooDeepGroupsAreReportedAndLeaveNothing) {
  for (const auto& [file, limit, at] :
       {std::array{"cgroup.max.descendants", "0", "/mete:"},
        std::array{"cgroup.max.descendants", "1", "/mete/t-t:"},
        std::array{"cgroup.max.descendants", "3", "/mete/t-t/s-s/a-a.1:"},
        std::array{"cgroup.max.depth", "2", "/mete/t-t/s-s:"},
        std::array{"cgroup.max.depth", "3", "/mete/t-t/s-s/a-a.1:"}}) {
    const std::string text = InBoundedGroup(places_, file, limit, {"t", "s", "a", 1});
    EXPECT_NE(text.find("no group can be made at "), std::string::npos) << text;
    EXPECT_NE(text.find(std::string(at) + " Resource temporarily unavailable"), std::string::npos)
        << file << " " << limit << ": " << text;
    EXPECT_TRUE(text.ends_with("nothing left")) << file << " " << limit << ": " << text;
  }
  const std::string text = InBoundedGroup(places_, "cgroup.max.depth", "4", {"t", "s", "a", 1});
  EXPECT_TRUE(text.starts_with("it was made")) << text;
}

TEST_F(Faults, AControllerThatTheKernelDoesNotPassOnIsNamed) {
  if (places_.cpu.version != Version::kV1) GTEST_SKIP() << "cpu is not in a v1 hierarchy";
  Places wrong = places_;
  wrong.cpu = {Version::kV2, places_.unified_dir, places_.unified_path, ""};
  const std::string name = TestName("passed");
  const std::string text = TextOf(CgroupHost(wrong).Create(name, {}));
  EXPECT_NE(text.find("controllers cannot be passed on: " + places_.unified_dir +
                      "/cgroup.subtree_control asked +cpu: "),
            std::string::npos)
      << text;
  EXPECT_TRUE(DirectoriesOf(name).empty());
}

TEST_F(Faults, ALimitWithoutItsControllerIsRefusedAndLeavesNothing) {
  Places without = places_;
  without.cpu = {Version::kNone, "", "", "a test took it away"};
  without.memory = without.pids = without.cpu;
  CgroupHost host(without);
  EXPECT_EQ(host.Look().memory.how, "a test took it away");
  const std::string name = TestName("without");
  KernelLimits cpu, memory, line;
  cpu.cpu_nanocores = 500'000'000;
  memory.memory_max = 64 << 20;
  line.memory_line = 64 << 20;
  for (const auto& [limits, field] :
       {std::pair(cpu, "cpu_nanocores"), std::pair(memory, "memory_max"),
        std::pair(line, "memory_line")}) {
    auto made = host.Create(name, limits);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::kSystem);
    EXPECT_NE(made.error().message.find(std::string(field) + " cannot be held"), std::string::npos)
        << made.error().message;
  }
  EXPECT_TRUE(DirectoriesOf(name).empty());
  TestGroup group(host, "bare");
  ASSERT_TRUE(group);
  auto rate = group->SetCpuRate(500'000'000);
  ASSERT_FALSE(rate);
  EXPECT_NE(rate.error().message.find("cpu_nanocores cannot be held"), std::string::npos);
  EXPECT_EQ(group->Effective()->memory_max.value, std::nullopt);
}

TEST_F(Faults, AnAgentThatMayNotBeMovedIsNamed) {
  TestGroup group(agent::CreateLeaf(*agent::OpenHost(), {"", "", TestName("adopt"), 1}, {}));
  ASSERT_TRUE(group);
  const std::string text = InChild([&group]() -> std::string {
    // The kernel looks at who opens the file.
    if (setgid(65534) != 0 || setuid(65534) != 0) return "no other user";
    auto moved = group->Adopt(getpid());
    return moved ? "it was moved" : moved.error().ToString();
  });
  if (text == "no other user") GTEST_SKIP() << "not root here";
  EXPECT_NE(text.find("E2078"), std::string::npos) << text;
  EXPECT_NE(text.find(group->name()), std::string::npos) << text;
}

TEST(Labels, AFileSystemWithoutThemIsNamed) {
  const UniqueFd proc(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(LabelGrade(proc.get()).grade, Grade::kAbsent);
  EXPECT_NE(LabelGrade(proc.get()).how.find("user.mete.label"), std::string::npos);
  EXPECT_NE(WriteLabel(proc.get(), "x"), 0);
  EXPECT_EQ(ReadLabel(proc.get()), "");
}

// A tree of plain files: the directories are made, and then the kernel's files are not there.
TEST(PlainFiles, AMissingFileIsNamed) {
  TestTree tree;
  tree.Dir("u");
  Places places;
  places.unified_dir = tree.path("u");
  places.unified_path = "/";
  places.cpu = places.memory = places.pids = {Version::kNone, "", "", "no"};
  EXPECT_NE(TextOf(CgroupHost(places).Create("a", {})).find("/u/mete/a/cgroup.procs: No such file"),
            std::string::npos);
  EXPECT_FALSE(tree.Has("u/mete")) << "left behind";
  places.memory = {Version::kV2, tree.path("u"), "/", ""};
  EXPECT_NE(TextOf(CgroupHost(places).Create("t-x/a-b.1", {}))
                .find("/u/cgroup.subtree_control asked +memory: No such file"),
            std::string::npos);
  EXPECT_FALSE(tree.Has("u/mete"));
}

}  // namespace
}  // namespace mete::cgroup
