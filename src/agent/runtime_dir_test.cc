#include "agent/runtime_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace mete::agent {
namespace {

class RuntimeDirTest : public testing::Test {
 protected:
  RuntimeDirTest() {
    std::string name = (std::filesystem::temp_directory_path() / "mete-test-XXXXXX").string();
    base_ = mkdtemp(name.data());
    if (const char* old = std::getenv("XDG_RUNTIME_DIR")) old_ = old;
    setenv("XDG_RUNTIME_DIR", base_.c_str(), 1);
  }
  ~RuntimeDirTest() override {
    old_.empty() ? unsetenv("XDG_RUNTIME_DIR") : setenv("XDG_RUNTIME_DIR", old_.c_str(), 1);
    std::filesystem::remove_all(base_);
  }

  std::string base_, old_;
};

TEST_F(RuntimeDirTest, IsUnderTheUsersOwn) {
  EXPECT_EQ(RuntimeDir(), base_ + "/mete");
  setenv("XDG_RUNTIME_DIR", "relative", 1);
  const std::string fallback =
      geteuid() == 0 ? "/run/mete" : "/tmp/mete-" + std::to_string(geteuid());
  EXPECT_EQ(RuntimeDir(), fallback);
  unsetenv("XDG_RUNTIME_DIR");
  EXPECT_EQ(RuntimeDir(), fallback);
}

TEST_F(RuntimeDirTest, IsMadeForThisUserAlone) {
  ASSERT_TRUE(MakeRuntimeDir());
  struct stat status{};
  ASSERT_EQ(stat(RuntimeDir().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0700u);
  EXPECT_TRUE(MakeRuntimeDir()) << "again";
}

TEST_F(RuntimeDirTest, RefusesWhatOthersCouldChange) {
  ASSERT_TRUE(MakeRuntimeDir());
  ASSERT_EQ(chmod(RuntimeDir().c_str(), 0770), 0);
  EXPECT_FALSE(MakeRuntimeDir());
  std::filesystem::remove(RuntimeDir());
  std::filesystem::create_directory_symlink(base_, RuntimeDir());
  EXPECT_FALSE(MakeRuntimeDir()) << "a link";
  std::filesystem::remove(RuntimeDir());
  std::ofstream(RuntimeDir()) << "x";
  EXPECT_FALSE(MakeRuntimeDir()) << "a file";
  setenv("XDG_RUNTIME_DIR", (base_ + "/missing").c_str(), 1);
  EXPECT_FALSE(MakeRuntimeDir()) << "no folder to make it in";
}

TEST_F(RuntimeDirTest, OfSomebodyElseIsNotTrusted) {
  EXPECT_TRUE(CheckRuntimeDir(RuntimeDir())) << "not there";
  ASSERT_TRUE(MakeRuntimeDir());
  EXPECT_TRUE(CheckRuntimeDir(RuntimeDir()));
  // Made before this user came, where everybody may make folders.
  if (geteuid() != 0) GTEST_SKIP() << "this user is not root, and only root can give a folder away";
  ASSERT_EQ(chown(RuntimeDir().c_str(), 12345, 12345), 0);
  const Result<void> refused = CheckRuntimeDir(RuntimeDir());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kSystem);
  EXPECT_FALSE(MakeRuntimeDir());
}

TEST_F(RuntimeDirTest, ListsTheControlSockets) {
  EXPECT_TRUE(ListControlSockets(RuntimeDir()).empty());
  ASSERT_TRUE(MakeRuntimeDir());
  EXPECT_EQ(ControlSocketPath("/d", "a"), "/d/a.sock");
  EXPECT_EQ(AgentSocketPath("/d", "a"), "/d/a.agent");
  for (const char* id : {"b", "a.1"}) {
    std::ofstream(ControlSocketPath(RuntimeDir(), id)) << "";
    std::ofstream(AgentSocketPath(RuntimeDir(), id)) << "";
  }
  std::ofstream(RuntimeDir() + "/.sock") << "";
  EXPECT_EQ(ListControlSockets(RuntimeDir()), (std::vector<std::string>{"a.1", "b"}));
}

}  // namespace
}  // namespace mete::agent
