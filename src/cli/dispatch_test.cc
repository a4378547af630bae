#include <gtest/gtest.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {{"json", "", "print JSON"}};

int Echo(const Flags& flags) {
  Print(flags.Has("json") ? "json" : "text");
  for (std::string_view operand : flags.operands()) {
    Print(" ");
    Print(operand);
  }
  return 7;
}

constexpr Command Make(std::string_view name, std::size_t most, int usage_status = kExitUsage) {
  return {.name = name,
          .operands = "[ID]",
          .summary = "Says what it got",
          .details = {},
          .flags = kFlags,
          .min_operands = most == kAnyNumber ? std::size_t{1} : 0,
          .max_operands = most,
          .end_at_operand = most == kAnyNumber,
          .usage_status = usage_status,
          .main = Echo};
}

constexpr Command kRun = Make("run", kAnyNumber, kExitRunFailed);
constexpr Command kGet = Make("quota get", 1);
constexpr Command kSet = Make("quota set", 1);
const std::vector<const Command*> kCommands = {&kRun, &kGet, &kSet, &kHelpCommand,
                                               &kVersionCommand};

TEST(Dispatch, CallsTheCommandWithItsOptions) {
  Ran ran = RunCli(kCommands, {"run", "--json", "ls", "--json"});
  EXPECT_EQ(ran.status, 7);
  EXPECT_EQ(ran.out, "json ls --json");
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(RunCli(kCommands, {"quota", "get", "a1"}).out, "text a1");
  EXPECT_EQ(RunCli(kCommands, {"quota", "set", "--json"}).out, "json");
}

TEST(Dispatch, ErrorsAreOneLineWithTheCommandsStatus) {
  struct Row {
    std::vector<const char*> arguments;
    int status;
    const char* err;
  };
  const std::vector<Row> rows = {
      {{"run"},
       125,
       "mete: E2071: run needs more: mete run [OPTION...] [ID], `mete help run` lists the "
       "options\n"},
      {{"run", "--jsn", "ls"},
       125,
       "mete: E2071: unknown option \"--jsn\", did you mean --json?\n"},
      {{"quota", "get", "a", "b"},
       2,
       "mete: E2071: quota get is given too much, it takes [ID] and options\n"},
      {{"quota"}, 2, "mete: E2071: quota: which one? allowed: get, set\n"},
      {{"quota", "gte"}, 2, "mete: E2071: quota: unknown command \"gte\", allowed: get, set\n"},
      {{"quota", "--json"},
       2,
       "mete: E2071: quota: unknown command \"--json\", allowed: get, set\n"},
      {{"rnu"}, 2, "mete: E2071: unknown command \"rnu\", did you mean run?\n"},
      {{"qota", "get"}, 2, "mete: E2071: unknown command \"qota\", did you mean quota?\n"},
      {{"serve"}, 2, "mete: E2071: unknown command \"serve\", `mete help` lists them\n"},
      {{"--jsn"}, 2, "mete: E2071: unknown option \"--jsn\", `mete help` lists them\n"},
      {{""}, 2, "mete: E2071: unknown command \"\", `mete help` lists them\n"},
      {{"get"}, 2, "mete: E2071: unknown command \"get\", `mete help` lists them\n"},
      {{"help", "serve"}, 2, "mete: E2071: unknown command \"serve\", `mete help` lists them\n"},
      {{"a\nb"}, 2, "mete: E2071: unknown command \"a\\x0ab\", `mete help` lists them\n"},
  };
  for (const Row& row : rows) {
    Ran ran = RunCli(kCommands, row.arguments);
    EXPECT_EQ(ran.status, row.status) << row.err;
    EXPECT_EQ(ran.err, row.err);
    EXPECT_EQ(ran.out, "");
  }
}

TEST(Dispatch, WithoutArgumentsItIsAUsageErrorThatShowsHelp) {
  Ran ran = RunCli(kCommands, {});
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("usage: mete"), std::string::npos);
}

TEST(Dispatch, HelpIsAskedForInManyWays) {
  const std::string all = RunCli(kCommands, {"help"}).out;
  EXPECT_NE(all.find("quota set"), std::string::npos);
  for (const char* spelling : {"--help", "-h"}) {
    EXPECT_EQ(RunCli(kCommands, {spelling}).out, all);
    EXPECT_EQ(RunCli(kCommands, {"run", spelling}).out, RunCli(kCommands, {"help", "run"}).out);
    EXPECT_EQ(RunCli(kCommands, {"quota", spelling}).out, RunCli(kCommands, {"help", "quota"}).out);
    EXPECT_EQ(RunCli(kCommands, {"quota", "set", spelling}).out,
              RunCli(kCommands, {"help", "quota", "set"}).out);
  }
  EXPECT_EQ(RunCli(kCommands, {"help"}).status, 0);
  EXPECT_EQ(RunCli(kCommands, {"run", "--help"}).status, 0);
  EXPECT_EQ(RunCli(kCommands, {"--version"}).out, RunCli(kCommands, {"version"}).out);
}

TEST(PrintError, IsAlwaysOneLine) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(PrintError({ErrorCode::kNotPermitted, "no\nway\x1b[31m\r"}, 5), 5);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "mete: E2078: no way [31m \n");
}

}  // namespace
}  // namespace mete::cli
