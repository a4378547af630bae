#include "agent/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/unique_fd.h"
#include "cgroup/fake_host.h"

namespace mete::agent {
namespace {

class SpawnTest : public testing::Test {
 protected:
  SpawnTest() : group(*host.Create("spawn-test", {})) { sigprocmask(SIG_BLOCK, nullptr, &mask); }
  ~SpawnTest() override { EXPECT_TRUE(group->Remove()); }

  SpawnRequest Request(std::vector<const char*> words, std::vector<std::string> environment = {}) {
    std::vector<char*> argv;
    for (const char* word : words) argv.push_back(const_cast<char*>(word));
    argv.push_back(nullptr);
    return {argv, std::move(environment), mask};
  }

  Result<Spawned> Start(std::vector<const char*> words, std::vector<std::string> environment = {}) {
    return Spawn(*group, Request(std::move(words), std::move(environment)));
  }

  // The exit status of `sh -c script`.
  int Shell(const char* script, std::vector<std::string> environment = {}) {
    const Result<Spawned> child = Start({"sh", "-c", script}, std::move(environment));
    EXPECT_TRUE(child);
    if (!child) return -1;
    int status = 0;
    EXPECT_EQ(waitpid(child->pid, &status, 0), child->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  cgroup::FakeHost host;
  std::unique_ptr<Group> group;
  sigset_t mask;
};

TEST_F(SpawnTest, RunsTheProgramInsideTheGroup) {
  const Result<Spawned> child = Start({"sleep", "100"});
  ASSERT_TRUE(child) << child.error().message;
  EXPECT_EQ(child->exec_errno, 0);
  EXPECT_TRUE(group->Contains(child->pid));
  ASSERT_TRUE(group->Kill(std::chrono::seconds(10)));
  int status = 0;
  EXPECT_EQ(waitpid(child->pid, &status, 0), child->pid);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(SpawnTest, AddsToTheEnvironmentAndReplaces) {
  setenv("METE_TEST_OLD", "old", 1);
  setenv("METE_TEST_OLDER", "kept", 1);
  EXPECT_EQ(Shell("test \"$METE_TEST_OLD\" = new && test \"$METE_TEST_OLDER\" = kept && "
                  "test \"$METE_TEST_NEW\" = 'a=b'",
                  {"METE_TEST_OLD=new", "METE_TEST_NEW=a=b"}),
            0);
  EXPECT_STREQ(getenv("METE_TEST_OLD"), "old");
  unsetenv("METE_TEST_OLD");
  unsetenv("METE_TEST_OLDER");
}

TEST_F(SpawnTest, SaysWhyAProgramCannotBeStarted) {
  struct Row {
    const char* program;
    int error;
    int status;
  };
  for (const Row& row :
       {Row{"no-such-program-anywhere", ENOENT, 127}, Row{"/no/such/path", ENOENT, 127},
        Row{"/etc/passwd", EACCES, 126}, Row{"/", EACCES, 126}, Row{"", ENOENT, 127}}) {
    const Result<Spawned> child = Start({row.program});
    ASSERT_TRUE(child) << row.program;
    EXPECT_EQ(child->pid, 0);
    EXPECT_EQ(child->exec_errno, row.error) << row.program;
    EXPECT_EQ(ExitStatusOfExecError(child->exec_errno), row.status);
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left to wait for";
  }
}

TEST_F(SpawnTest, NeverRunsAProgramThatCannotEnter) {
  const std::string mark = testing::TempDir() + "spawn-test-ran";
  unlink(mark.c_str());
  host.FailNext(cgroup::FakeCall::kJoinSelf, {ErrorCode::kSystem, "no"});
  const Result<Spawned> child = Start({"touch", mark.c_str()});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, ErrorCode::kSystem);
  EXPECT_NE(child.error().message.find("enter its group"), std::string::npos);
  EXPECT_EQ(access(mark.c_str(), F_OK), -1);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(SpawnTest, GivesTheProgramTheCallersSignalMask) {
  sigset_t all;
  sigfillset(&all);
  sigset_t old;
  sigprocmask(SIG_SETMASK, &all, &old);
  const int status = Shell("kill -TERM $$; exit 0");  // blocked, it would go on
  sigprocmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(status, 128 + SIGTERM);
}

TEST_F(SpawnTest, HandsOnTheCallersDescriptorsAndNoneOfItsOwn) {
  for (int fd = 3; fd < 256; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);  // those of this test's caller
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // inherited, as a job server's would be
  UniqueFd reader(ends[0]), writer(ends[1]);
  const std::string path = testing::TempDir() + "spawn-test-fds-" + std::to_string(getpid());
  EXPECT_EQ(Shell(("ls /proc/$$/fd > " + path).c_str()), 0);
  std::set<int> seen;
  std::ifstream list(path);
  for (int fd; list >> fd;) seen.insert(fd);
  seen.erase(10);  // where the shell keeps its own output meanwhile
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2, reader.get(), writer.get()}));
  unlink(path.c_str());
}

TEST_F(SpawnTest, TheProgramStartsWhenItMay) {
  const std::string mark = testing::TempDir() + "spawn-test-waits-" + std::to_string(getpid());
  unlink(mark.c_str());
  pid_t seen = 0;
  SpawnRequest request = Request({"touch", mark.c_str()});
  request.before_start = [&](pid_t pid) -> Result<void> {
    seen = pid;
    EXPECT_TRUE(group->Contains(pid));
    usleep(20'000);
    EXPECT_EQ(access(mark.c_str(), F_OK), -1) << "it ran already";
    return {};
  };
  const Result<Spawned> child = Spawn(*group, request);
  ASSERT_TRUE(child) << child.error().message;
  EXPECT_EQ(child->pid, seen);
  int status = -1;
  EXPECT_EQ(waitpid(child->pid, &status, 0), child->pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(access(mark.c_str(), F_OK), 0);
  unlink(mark.c_str());
}

TEST_F(SpawnTest, WhatMayNotStartLeavesNothing) {
  const std::string mark = testing::TempDir() + "spawn-test-never-" + std::to_string(getpid());
  SpawnRequest request = Request({"touch", mark.c_str()});
  request.before_start = [](pid_t) { return Fail(ErrorCode::kStoreUnavailable, "disk full"); };
  const Result<Spawned> child = Spawn(*group, request);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, ErrorCode::kStoreUnavailable);
  EXPECT_EQ(access(mark.c_str(), F_OK), -1);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

// The parent is killed while the child waits: the child must not become the program.
TEST_F(SpawnTest, NothingStartsOnceTheParentIsGone) {
  const std::string mark = testing::TempDir() + "spawn-test-orphan-" + std::to_string(getpid());
  const pid_t parent = fork();
  if (parent == 0) {
    SpawnRequest request = Request({"touch", mark.c_str()});
    request.before_start = [](pid_t) -> Result<void> { _exit(0); };
    [[maybe_unused]] Result<Spawned> never = Spawn(*group, request);
    _exit(1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(parent, &status, 0), parent);
  EXPECT_EQ(status, 0);
  for (int i = 0; i < 1000 && group->Read()->populated; ++i) usleep(1000);
  EXPECT_FALSE(group->Read()->populated);
  EXPECT_EQ(access(mark.c_str(), F_OK), -1);
}

class SpawnAsTest : public SpawnTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root may become another user";
  }
  int ShellAs(const Identity& identity, const char* script) {
    SpawnRequest request = Request({"sh", "-c", script});
    request.identity = &identity;
    const Result<Spawned> child = Spawn(*group, request);
    EXPECT_TRUE(child) << child.error().message;
    if (!child) return -1;
    int status = 0;
    EXPECT_EQ(waitpid(child->pid, &status, 0), child->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
};

TEST_F(SpawnAsTest, HasNothingOfTheCallersPowers) {
  const Identity nobody{.uid = 65534, .gid = 65533, .groups = {65532}, .environment = {"HOME=/h"}};
  EXPECT_EQ(ShellAs(nobody,
                    "test $(id -u) = 65534 && test $(id -g) = 65533 && test \"$HOME\" = /h && "
                    "test \"$(id -G)\" = '65533 65532' && "
                    "grep -q '^NoNewPrivs:.1$' /proc/self/status && "
                    "! grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status"),
            0);
}

// With no-new-privileges also root cannot take back by exec what it gave up.
TEST_F(SpawnAsTest, RootWithoutCapabilitiesStaysWithout) {
  const Identity root{.uid = 0, .gid = 0, .groups = {}, .environment = {}};
  EXPECT_EQ(ShellAs(root, "! grep -E '^Cap(Prm|Eff):.*[1-9a-f]' /proc/self/status"), 0);
}

TEST_F(SpawnAsTest, KeepsNoDescriptorButTheFirstThree) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  const Identity nobody{.uid = 65534, .gid = 65534, .groups = {}, .environment = {}};
  const std::string check = "! test -e /proc/self/fd/" + std::to_string(reader.get()) +
                            " && ! test -e /proc/self/fd/" + std::to_string(writer.get());
  EXPECT_EQ(ShellAs(nobody, check.c_str()), 0);
  EXPECT_EQ(fcntl(reader.get(), F_GETFD), 0) << "the caller's own stay open";
}

TEST_F(SpawnAsTest, KeepsTheUmaskAndTheFolder) {
  const mode_t old = umask(0027);
  const Identity nobody{.uid = 65534, .gid = 65534, .groups = {}, .environment = {}};
  const std::string check = "test $(umask) = 0027 && test \"$(pwd -P)\" = '" +
                            std::filesystem::current_path().string() + "'";
  EXPECT_EQ(ShellAs(nobody, check.c_str()), 0);
  umask(old);
}

}  // namespace
}  // namespace mete::agent
