#include <gtest/gtest.h>

#include "cli/command_test.h"
#include "wire/json.h"

namespace mete::cli {
namespace {

TEST(Version, IsPrintedAsTextAndAsJson) {
  Ran text = RunCli({&kVersionCommand}, {"version"});
  EXPECT_EQ(text.status, 0);
  ASSERT_TRUE(text.out.starts_with("mete ")) << text.out;
  const std::string version = text.out.substr(5, text.out.size() - 6);
  EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;

  Result<wire::Json> json = wire::ParseJson(RunCli({&kVersionCommand}, {"version", "--json"}).out);
  ASSERT_TRUE(json);
  ASSERT_NE(json->Find("version"), nullptr);
  EXPECT_EQ(*json->Find("version")->AsString(), version);
}

TEST(Version, AFullOutputIsNoSuccess) {
  std::fflush(stdout);
  const int saved = dup(STDOUT_FILENO);
  ASSERT_NE(std::freopen("/dev/full", "w", stdout), nullptr);
  const char* arguments[] = {"mete", "version"};
  const Command* commands[] = {&kVersionCommand};
  testing::internal::CaptureStderr();
  const int status = Dispatch(commands, 2, arguments);
  const std::string err = testing::internal::GetCapturedStderr();
  std::clearerr(stdout);
  dup2(saved, STDOUT_FILENO);
  close(saved);
  EXPECT_EQ(status, 1);
  EXPECT_EQ(err, "mete: E2099: cannot write to standard output\n");
}

}  // namespace
}  // namespace mete::cli
