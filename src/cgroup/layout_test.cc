#include "cgroup/layout.h"

#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <string>

#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

std::string Dir(const std::optional<Position>& position) {
  return position ? position->dir : "(none)";
}

std::string Path(const std::optional<Position>& position) {
  return position ? position->path : "(none)";
}

struct MachineCase {
  const char* what;
  const char* mountinfo;
  const char* own_groups;
  const char *unified, *cpu, *memory, *pids;  // expected directories
};

constexpr const char* kPureV2 =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

constexpr const char* kSeparateV1 =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

constexpr const char* kCoMountedV1 =
    "32 31 0:29 / /sys/fs/cgroup/unified rw shared:6 master:2 - cgroup2 cgroup2 rw\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/memory rw shared:8 - cgroup cgroup rw,memory\n";

const MachineCase kMachines[] = {
    {"pure v2, a service", kPureV2, "0::/system.slice/x.service\n",
     "/sys/fs/cgroup/system.slice/x.service", "(none)", "(none)", "(none)"},
    {"pure v2, the root", kPureV2, "0::/\n", "/sys/fs/cgroup", "(none)", "(none)", "(none)"},
    {"hybrid, every controller apart", kSeparateV1,
     "8:pids:/\n4:memory:/box/1\n3:cpuset:/\n2:cpuacct:/z\n1:cpu:/c\n0::/\n",
     "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu/c", "/sys/fs/cgroup/memory/box/1",
     "/sys/fs/cgroup/pids"},
    {"hybrid, cpu and cpuacct together, no pids", kCoMountedV1,
     "3:memory:/user.slice\n2:cpu,cpuacct:/user.slice\n0::/user.slice/a.scope\n",
     "/sys/fs/cgroup/unified/user.slice/a.scope", "/sys/fs/cgroup/cpu,cpuacct/user.slice",
     "/sys/fs/cgroup/memory/user.slice", "(none)"},
    {"cpuacct and cpuset are not cpu",
     "33 31 0:30 / /c rw - cgroup cgroup rw,cpuacct\n34 31 0:31 / /s rw - cgroup cgroup "
     "rw,cpuset\n",
     "2:cpuacct:/\n3:cpuset:/\n", "(none)", "(none)", "(none)", "(none)"},
    {"a container's bind mount shows only its own part",
     "40 30 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
     "4:memory:/docker/ab/inner\n", "(none)", "(none)", "/sys/fs/cgroup/memory/inner", "(none)"},
    {"a bind mount of another group", "40 30 0:32 /docker/ab /m ro - cgroup cgroup rw,memory\n",
     "4:memory:/docker/abc\n", "(none)", "(none)", "", "(none)"},
    {"a group outside of the namespace", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     "0::/../other\n", "", "(none)", "(none)", "(none)"},
    {"the second mount shows the group, the first does not",
     "40 30 0:32 /x /a rw - cgroup2 cgroup2 rw\n41 30 0:32 / /b rw - cgroup2 cgroup2 rw\n",
     "0::/y\n", "/b/y", "(none)", "(none)", "(none)"},
    {"a blank in the mount point", "30 22 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n",
     "0::/a\n", "/my groups/a", "(none)", "(none)", "(none)"},
    {"nothing mounted", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", "0::/\n",
     "(none)", "(none)", "(none)", "(none)"},
    {"broken lines", "\n31\n32 31 0:29 / /sys rw\n - cgroup2\n", "\n0\n:::\n", "(none)", "(none)",
     "(none)", "(none)"},
    {"empty files", "", "", "(none)", "(none)", "(none)", "(none)"},
};

TEST(Layout, FindsTheCallersGroups) {
  for (const MachineCase& machine : kMachines) {
    SCOPED_TRACE(machine.what);
    const Layout layout = ReadLayout(machine.mountinfo, machine.own_groups);
    EXPECT_EQ(Dir(layout.unified), machine.unified);
    EXPECT_EQ(Dir(layout.cpu), machine.cpu);
    EXPECT_EQ(Dir(layout.memory), machine.memory);
    EXPECT_EQ(Dir(layout.pids), machine.pids);
  }
}

TEST(Layout, KeepsThePathThatProcNames) {
  const Layout layout = ReadLayout("40 30 0:32 /docker/ab /m ro - cgroup cgroup rw,memory\n",
                                   "4:memory:/docker/ab/inner\n");
  EXPECT_EQ(Path(layout.memory), "/docker/ab/inner");
}

TEST(Layout, ReadsThisMachine) {
  const Layout layout = ReadLayout();
  if (!layout.unified) GTEST_SKIP() << "no cgroup2 file system is mounted";
  EXPECT_FALSE(layout.unified->path.empty());
}

// --- where groups can be made; trees of plain files stand in for the kernel's ---

class Tree : public testing::Test {
 protected:
  // A v2 group as the kernel shows it. The root has no cgroup.type.
  void MakeV2(const std::string& dir, const std::string& controllers, const std::string& passed,
              const std::string& procs, bool root = false) {
    tree_.Dir(dir);
    tree_.File(dir + "/cgroup.controllers", controllers);
    tree_.File(dir + "/cgroup.subtree_control", passed);
    tree_.File(dir + "/cgroup.procs", procs);
    if (root) return;
    tree_.File(dir + "/cgroup.type", "domain\n");
    tree_.File(dir + "/cgroup.freeze", "0\n");
  }
  void MakeV1(const std::string& dir) {
    tree_.Dir(dir);
    tree_.File(dir + "/cgroup.procs", "1\n");
  }
  // As systemd marks the groups of its units. False: this file system takes no attributes.
  bool MarkUnit(const std::string& dir, bool delegated) {
    const std::string path = tree_.path(dir);
    return setxattr(path.c_str(), "user.invocation_id", "b3613e8d", 8, 0) == 0 &&
           (!delegated || setxattr(path.c_str(), "user.delegate", "1", 1, 0) == 0);
  }
  Position At(const std::string& mount, const std::string& path) const {
    const std::string point = tree_.path(mount);
    return {point, path == "/" ? point : point + path, path};
  }

  TestTree tree_;
};

constexpr const char* kAll = "cpuset cpu io memory pids\n";

TEST_F(Tree, TheRootMayHoldProcessesAndPassControllersOn) {
  MakeV2("u", kAll, "", "1\n2\n", true);
  const Places places = FindPlaces({At("u", "/"), {}, {}, {}});
  EXPECT_EQ(places.missing, "");
  EXPECT_EQ(places.unified_dir, tree_.path("u"));
  EXPECT_EQ(places.cpu.version, Version::kV2);
  EXPECT_EQ(places.memory.version, Version::kV2);
  EXPECT_EQ(places.pids.version, Version::kV2);
  EXPECT_FALSE(places.hybrid());
}

TEST_F(Tree, TheNearestAncestorWithoutProcessesIsTaken) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/slice", kAll, "memory pids\n", "");
  MakeV2("u/slice/scope", "memory pids\n", "", "77\n");
  const Places places = FindPlaces({At("u", "/slice/scope"), {}, {}, {}});
  EXPECT_EQ(places.unified_dir, tree_.path("u/slice"));
  EXPECT_EQ(places.unified_path, "/slice");
  EXPECT_EQ(places.cpu.version, Version::kV2);
}

TEST_F(Tree, AnAncestorFurtherUpWinsOnlyWithMoreControllers) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/slice", "memory pids\n", "memory pids\n", "");
  MakeV2("u/slice/scope", "memory pids\n", "", "77\n");
  const Places places = FindPlaces({At("u", "/slice/scope"), {}, {}, {}});
  EXPECT_EQ(places.unified_dir, tree_.path("u"));
  EXPECT_EQ(places.unified_path, "/");
}

TEST_F(Tree, AGroupOfMeteIsNotLeft) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/mete", kAll, kAll, "");
  MakeV2("u/mete/agent", kAll, "", "77\n");
  const Places places = FindPlaces({At("u", "/mete/agent"), {}, {}, {}});
  EXPECT_EQ(places.unified_dir, tree_.path("u/mete/agent"));
  EXPECT_EQ(places.cpu.version, Version::kNone);
  EXPECT_EQ(places.memory.version, Version::kNone);
}

TEST_F(Tree, NorIsOneOfATenant) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/mete", kAll, kAll, "");
  MakeV2("u/mete/t-a", kAll, kAll, "");
  MakeV2("u/mete/t-a/s-b", kAll, kAll, "");
  MakeV2("u/mete/t-a/s-b/a-c.1", kAll, "", "77\n");
  const Places places = FindPlaces({At("u", "/mete/t-a/s-b/a-c.1"), {}, {}, {}});
  EXPECT_EQ(places.unified_dir, tree_.path("u/mete/t-a/s-b/a-c.1"));
  EXPECT_EQ(places.cpu.version, Version::kNone);
}

TEST_F(Tree, ADelegatedUnitIsNotLeft) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/slice", kAll, kAll, "");
  MakeV2("u/slice/unit", "memory pids\n", "", "77\n78\n");
  MakeV2("u/slice/unit/below", "", "", "79\n");
  if (!MarkUnit("u/slice/unit", true)) GTEST_SKIP() << "no attributes on files here";
  for (const char* caller : {"/slice/unit", "/slice/unit/below"}) {
    SCOPED_TRACE(caller);
    const Places places = FindPlaces({At("u", caller), {}, {}, {}});
    EXPECT_EQ(places.unified_path, "/slice/unit");
    EXPECT_TRUE(places.delegated);
    EXPECT_EQ(places.undelegated, "");
    EXPECT_EQ(places.pids.version, Version::kV2) << "its processes can be moved";
    EXPECT_EQ(places.cpu.version, Version::kNone) << "although the slice has it";
  }
}

TEST_F(Tree, AUnitThatIsNotDelegatedIsTold) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/slice", kAll, kAll, "");
  MakeV2("u/slice/unit", kAll, "", "77\n");
  if (!MarkUnit("u/slice/unit", false) || !MarkUnit("u/slice", false)) {
    GTEST_SKIP() << "no attributes on files here";
  }
  const Places places = FindPlaces({At("u", "/slice/unit"), {}, {}, {}});
  EXPECT_EQ(places.unified_path, "/slice");
  EXPECT_FALSE(places.delegated);
  EXPECT_EQ(places.undelegated, "/slice/unit");
}

TEST_F(Tree, OnlyTheValueOneDelegates) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/unit", kAll, "", "77\n");
  if (!MarkUnit("u/unit", false) ||
      setxattr(tree_.path("u/unit").c_str(), "user.delegate", "0", 1, 0) != 0) {
    GTEST_SKIP() << "no attributes on files here";
  }
  const Places places = FindPlaces({At("u", "/unit"), {}, {}, {}});
  EXPECT_EQ(places.unified_path, "/");
  EXPECT_FALSE(places.delegated);
}

TEST_F(Tree, AControllerThatNobodyOffersIsNamed) {
  MakeV2("u", "memory\n", "", "1\n", true);
  const Places places = FindPlaces({At("u", "/"), {}, {}, {}});
  EXPECT_EQ(places.missing, "");
  EXPECT_EQ(places.memory.version, Version::kV2);
  EXPECT_EQ(places.cpu.version, Version::kNone);
  EXPECT_NE(places.cpu.why.find("cpu controller"), std::string::npos);
  EXPECT_NE(places.pids.why.find("pids controller"), std::string::npos);
}

TEST_F(Tree, HybridStaysAtTheCallersOwnGroups) {
  MakeV2("u", "hugetlb\n", "", "1\n", true);
  MakeV1("cpu/c");
  MakeV1("mem/box");
  MakeV1("pids");
  const Places places =
      FindPlaces({At("u", "/"), At("cpu", "/c"), At("mem", "/box"), At("pids", "/")});
  EXPECT_TRUE(places.hybrid());
  EXPECT_EQ(places.unified_dir, tree_.path("u"));
  EXPECT_EQ(places.cpu.dir, tree_.path("cpu/c"));
  EXPECT_EQ(places.memory.dir, tree_.path("mem/box"));
  EXPECT_EQ(places.memory.path, "/box");
  EXPECT_EQ(places.pids.dir, tree_.path("pids"));
}

TEST_F(Tree, AV1GroupThatCannotBeWrittenIsAbsentWithItsReason) {
  MakeV2("u", "", "", "1\n", true);
  const Places places = FindPlaces({At("u", "/"), At("gone", "/x"), {}, {}});
  EXPECT_EQ(places.missing, "");
  EXPECT_EQ(places.cpu.version, Version::kNone);
  EXPECT_NE(places.cpu.why.find(tree_.path("gone/x")), std::string::npos) << places.cpu.why;
}

TEST_F(Tree, WithoutAUnifiedHierarchyNoGroupCanBeMade) {
  EXPECT_NE(FindPlaces({}).missing.find("no cgroup2"), std::string::npos);
  Position hidden{"/sys/fs/cgroup", "", "/../x"};
  EXPECT_NE(FindPlaces({hidden, {}, {}, {}}).missing.find("/../x"), std::string::npos);
}

TEST_F(Tree, AKernelWithoutFreezeIsNamed) {
  MakeV2("u", kAll, kAll, "", true);
  MakeV2("u/s", kAll, kAll, "");
  tree_.Remove("u/s/cgroup.freeze");
  EXPECT_NE(FindPlaces({At("u", "/s"), {}, {}, {}}).missing.find("cgroup.freeze"),
            std::string::npos);
}

TEST_F(Tree, ADirectoryThatDoesNotExistIsNamed) {
  const Places places = FindPlaces({At("u", "/"), {}, {}, {}});
  EXPECT_NE(places.missing.find(tree_.path("u")), std::string::npos) << places.missing;
}

}  // namespace
}  // namespace mete::cgroup
