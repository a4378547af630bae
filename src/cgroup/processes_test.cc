#include "cgroup/processes.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "cgroup/control_file.h"
#include "cgroup/name.h"

namespace mete::cgroup {
namespace {

TEST(UnifiedPath, IsTheLineWithoutControllers) {
  EXPECT_EQ(UnifiedPathIn("4:memory:/box\n1:name=systemd:/x\n0::/a/b\n"), "/a/b");
  EXPECT_EQ(UnifiedPathIn("0::/\n"), "/");
  EXPECT_EQ(UnifiedPathIn("0::/mete/x (deleted)\n"), "/mete/x");
  EXPECT_EQ(UnifiedPathIn("0::/no newline"), "/no newline");
  EXPECT_EQ(UnifiedPathIn("10::/wrong\n4:memory:/box\n"), "");
  EXPECT_EQ(UnifiedPathIn(""), "");
}

TEST(UnifiedPath, OfProcesses) {
  EXPECT_TRUE(UnifiedPathOf(getpid()).starts_with('/'));
  EXPECT_EQ(UnifiedPathOf(0), "");
  EXPECT_EQ(UnifiedPathOf(-1), "");
  EXPECT_EQ(UnifiedPathOf(INT32_MAX), "");
}

TEST(IsWithin, ComparesWholeComponents) {
  EXPECT_TRUE(IsWithin("/a/b", "/a/b"));
  EXPECT_TRUE(IsWithin("/a/b/c", "/a/b"));
  EXPECT_FALSE(IsWithin("/a/bc", "/a/b"));
  EXPECT_FALSE(IsWithin("/a", "/a/b"));
  EXPECT_TRUE(IsWithin("/a", "/"));
  EXPECT_FALSE(IsWithin("", "/a"));
}

struct GroupRow {
  const char *path, *base;
  const char* group;  // nullptr: none
};

TEST(GroupIn, FindsTheAgentsGroup) {
  const GroupRow rows[] = {
      {"/mete/a", "/", "a"},
      {"/mete/a/inner", "/", "a"},
      {"/x/mete/a", "/x", "a"},
      {"/x/mete/a", "/", "a"},       // made by a mete that ran elsewhere
      {"/mete/a", "/mete/a", "a"},   // seen by a program that itself is in the group
      {"/mete/a/mete/b", "/", "a"},  // a group made inside does not hide its maker
      {"/mete/a/mete/b", "/mete/a", "b"},
      {"/mete/t-x/s-y/a-z.1", "/", "t-x/s-y/a-z.1"},
      {"/mete/t-x/s-y/a-z.1/a-inner.1", "/", "t-x/s-y/a-z.1"},
      {"/mete/t-x/a-z.1/mete/b", "/", "t-x/a-z.1"},
      {"/mete/t-x/a-z.1/mete/s-y/b", "/mete/t-x/a-z.1", "s-y"},  // not a name of the tree
      {"/mete/s-y/a-z.1", "/", "s-y/a-z.1"},
      {"/mete/t-x", "/", "t-x"},
      {"/mete/t-x/s-y", "/", "t-x/s-y"},
      {"/mete/t-x/other/a-z.1", "/", "t-x"},
      {"/mete/s-y/t-x/a-z.1", "/", "s-y"},
      {"/", "/", nullptr},
      {"", "/", nullptr},
      {"/mete", "/", nullptr},
      {"/mete/", "/", nullptr},
      {"/system.slice/mete.service", "/", nullptr},
      {"/xmete/a", "/", nullptr},
  };
  for (const GroupRow& row : rows) {
    const std::optional<std::string> group = GroupIn(row.path, row.base);
    EXPECT_EQ(group.value_or("(none)"), row.group != nullptr ? row.group : "(none)")
        << row.path << " from " << row.base;
  }
}

TEST(SignalIn, LeavesAProcessOfAnotherGroupAlone) {
  const std::string elsewhere[] = {"/mete/no-such-group"};
  EXPECT_FALSE(SignalIn(getpid(), SIGKILL, elsewhere));
  const std::string here[] = {"/mete/no-such-group", UnifiedPathOf(getpid())};
  if (here[1].empty()) GTEST_SKIP() << "the kernel shows no unified hierarchy";
  EXPECT_TRUE(SignalIn(getpid(), SIGCONT, here));
  EXPECT_FALSE(SignalIn(INT32_MAX, SIGCONT, here));
}

TEST(ControlFileText, NumbersAndWords) {
  EXPECT_EQ(NumberIn("42\n"), 42);
  EXPECT_EQ(NumberIn("-1\n"), -1);
  EXPECT_EQ(NumberIn("max\n"), std::nullopt);
  EXPECT_EQ(NumberIn(""), std::nullopt);
  EXPECT_EQ(NumberIn("99999999999999999999"), std::nullopt);
  EXPECT_EQ(NumberAfter("oom 3\noom_kill 7\n", "oom_kill"), 7);
  EXPECT_EQ(NumberAfter("oom 3\noom_kill 7\n", "oom"), 3);
  EXPECT_EQ(NumberAfter("oom_kill_disable 0\nunder_oom 1", "under_oom"), 1);
  EXPECT_EQ(NumberAfter("oom_kill_disable 0\n", "oom_kill"), std::nullopt);
  EXPECT_EQ(NumberAfter("", "oom"), std::nullopt);
  EXPECT_TRUE(HasWord("rw,cpu,cpuacct", "cpu"));
  EXPECT_TRUE(HasWord("cpu memory pids\n", "pids"));
  EXPECT_FALSE(HasWord("cpuacct cpuset", "cpu"));
  EXPECT_FALSE(HasWord("", "cpu"));
}

}  // namespace
}  // namespace mete::cgroup
