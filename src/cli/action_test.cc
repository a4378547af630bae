#include <gtest/gtest.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

const std::vector<const Command*> kCommands = {&kSuspendCommand, &kResumeCommand,
                                               &kTerminateCommand, &kClearThrottleCommand};

TEST(Action, AsksTheAgent) {
  struct Row {
    std::vector<const char*> arguments;
    const char* target;
    const char* body;
  };
  const std::vector<Row> rows = {
      {{"suspend", "a1"}, "/v1/quotas/agent/a1/suspend", ""},
      {{"resume", "a1"}, "/v1/quotas/agent/a1/resume", ""},
      {{"resume", "--override", "a1"}, "/v1/quotas/agent/a1/resume", R"({"override":true})"},
      {{"terminate", "a1"}, "/v1/quotas/agent/a1/terminate", ""},
      {{"clear-throttle", "a1"}, "/v1/quotas/agent/a1/clear-throttle", ""},
  };
  for (const Row& row : rows) {
    FakeAgent agent({202, {}, R"({"state":"suspended"})"});
    Ran ran = RunCli(kCommands, row.arguments);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.out, "a1: suspended\n");
    const std::vector<wire::HttpRequest> requests = agent.requests();
    ASSERT_EQ(requests.size(), 1U);
    EXPECT_EQ(requests[0].method, "POST");
    EXPECT_EQ(requests[0].target, row.target);
    EXPECT_EQ(requests[0].body, row.body);
  }
}

TEST(Action, PrintsTheQuotaAsJson) {
  FakeAgent agent({200, {}, R"({"state":"running"})"});
  EXPECT_EQ(RunCli(kCommands, {"resume", "a1", "--json"}).out, "{\"state\":\"running\"}\n");
}

TEST(Action, ARefusalIsAFailure) {
  FakeAgent agent(Problem(409, "E2072", "still suspended: tokens_per_hour"));
  Ran ran = RunCli(kCommands, {"resume", "a1"});
  EXPECT_EQ(ran.status, 1);
  ExpectOneErrorLine(ran, "mete: E2072: still suspended: tokens_per_hour\n");
  Ran gone = RunCli(kCommands, {"suspend", "b"});
  EXPECT_EQ(gone.status, 1);
  ExpectOneErrorLine(gone, "mete: E2070: no such agent is running: \"b\", running: a1\n");
}

TEST(Action, NeedsOneId) {
  for (const char* verb : {"suspend", "resume", "terminate", "clear-throttle"}) {
    EXPECT_EQ(RunCli(kCommands, {verb}).status, 2);
    EXPECT_EQ(RunCli(kCommands, {verb, "a", "b"}).status, 2);
    Ran bad = RunCli(kCommands, {verb, "a/b"});
    EXPECT_EQ(bad.status, 2);
    ExpectOneErrorLine(bad, "mete: E2071: the id must be");
  }
}

}  // namespace
}  // namespace mete::cli
