// Programs that will not end are ended, and nothing of them is left: fork bombs, what detached
// itself, what ignores SIGTERM, what is stopped by a tracer or waits in a vfork.
//
// METE_TERMINATIONS says how many (50); `make soak` asks for 1,000.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "left_behind.h"

namespace mete {
namespace {

namespace fs = std::filesystem;

constexpr int kSoonSeconds = 20;

// As stubborn.cc knows them.
constexpr const char* kKinds[] = {"fork_bomb", "detached", "deaf", "traced", "vfork"};

class Survivors : public testing::TestWithParam<const char*> {
 protected:
  Survivors() {
    std::string path = testing::TempDir() + "mete-survivors-XXXXXX";
    folder_ = mkdtemp(path.data());
    setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
  }
  ~Survivors() override { fs::remove_all(folder_); }

  static int Runs() {
    const char* all = std::getenv("METE_TERMINATIONS");
    const int runs = all != nullptr ? std::atoi(all) : 50;
    return std::max(1, runs / static_cast<int>(std::size(kKinds)));
  }

  pid_t Start(const std::string& id, const std::string& up) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    const int null = open("/dev/null", O_RDWR);
    for (int fd : {0, 1, 2}) dup2(null, fd);
    // The load is bounded by the group, and by the alarm that each process of it sets.
    execl(METE_PROGRAM, "mete", "run", "--agent", id.c_str(), "--cpu", "500m", "--memory", "128Mi",
          "--pids", "64", "--grace", "20ms", "--quiet", "--", METE_STUBBORN, GetParam(), up.c_str(),
          nullptr);
    _exit(127);
  }

  std::string folder_;
};

TEST_P(Survivors, None) {
  int survivors = 0, late = 0;
  const int runs = Runs();
  for (int run = 0; run < runs; ++run) {
    const std::string id = FreshName(GetParam());
    setenv("METE_TEST_MARK", id.c_str(), 1);
    const std::string up = folder_ + "/" + id + ".up";
    const pid_t owner = Start(id, up);
    ASSERT_TRUE(Eventually([&] { return fs::exists(up); }, kSoonSeconds)) << "it did not come up";
    // The first is the program's, the second starts the end.
    kill(owner, SIGTERM);
    kill(owner, SIGTERM);
    int status = 0;
    const auto ended = [&] {
      kill(owner, SIGTERM);  // two signals of a number may have become one
      return waitpid(owner, &status, WNOHANG) == owner;
    };
    if (!Eventually(ended, kSoonSeconds)) {
      ++late;
      kill(owner, SIGKILL);
      waitpid(owner, &status, 0);
    }
    const std::vector<pid_t> left = ProcessesWith(id);
    for (pid_t pid : left) kill(pid, SIGKILL);
    survivors += static_cast<int>(left.size());
    EXPECT_TRUE(left.empty()) << GetParam() << ", run " << run;
    EXPECT_TRUE(GroupsNamed(id).empty()) << GetParam() << ", run " << run;
    unlink(up.c_str());
  }
  EXPECT_TRUE(FilesIn(folder_ + "/mete").empty());
  EXPECT_EQ(late, 0);
  printf("%s: %d terminations, %d survivors\n", GetParam(), runs, survivors);
}

INSTANTIATE_TEST_SUITE_P(Of, Survivors, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace mete
