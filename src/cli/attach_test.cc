#include <gtest/gtest.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

const std::vector<const Command*> kCommands = {&kAttachCommand};

TEST(Attach, NeedsTheNumberOfAProcess) {
  for (const char* pid : {"x", "0", "-1", "2147483648", "1.5", "1x", ""}) {
    Ran ran = RunCli(kCommands, {"attach", pid});
    EXPECT_EQ(ran.status, 125) << pid;
    EXPECT_NE(ran.err.find(pid[0] == '-' ? "E2071" : "the number of a process"), std::string::npos)
        << ran.err;
  }
  EXPECT_EQ(RunCli(kCommands, {"attach"}).status, 125);
  EXPECT_EQ(RunCli(kCommands, {"attach", "1", "2"}).status, 125);
}

TEST(Attach, KnowsTheOptionsOfRunButNotTheUser) {
  EXPECT_EQ(RunCli(kCommands, {"attach", "--cpu", "0", "1"}).status, 125);
  Ran ran = RunCli(kCommands, {"attach", "--user", "nobody", "1"});
  EXPECT_EQ(ran.status, 125);
  ExpectOneErrorLine(ran, "mete: E2071: ");
  EXPECT_NE(ran.err.find("--user"), std::string::npos);
}

// In every environment: the test program's own ancestors are never taken.
TEST(Attach, RefusesWhatStartedIt) {
  const std::string self = std::to_string(getpid());
  Ran ran = RunCli(kCommands, {"attach", self.c_str()});
  EXPECT_EQ(ran.status, 125);
}

}  // namespace
}  // namespace mete::cli
