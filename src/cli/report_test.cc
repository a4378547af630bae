#include <gtest/gtest.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

const wire::HttpResponse kReceipt = {
    200,
    {},
    R"({"recorded":{"tokens":1500},"not_charged":[],"replayed":false,"suspended":false,)"
    R"("throttled":false,"action_pending":false,"limits":[]})"};

TEST(Report, SendsWhatTheFlagsSay) {
  struct Row {
    std::vector<const char*> flags;
    const char* body;
  };
  const std::vector<Row> rows = {
      {{"--tokens", "1500"}, R"({"tokens":1500})"},
      {{"--tokens=0"}, R"({"tokens":0})"},
      {{"--requests", "2", "--tokens", "1"}, R"({"tokens":1,"requests":2})"},
      {{"--cost", "0.25"}, R"({"cost":"0.25"})"},
      {{"--cost", "0.000000001"}, R"({"cost":"0.000000001"})"},
      {{"--cpu-seconds", "1.50"}, R"({"cpu_seconds":1.5})"},
      {{"--memory", "512Mi"}, R"({"memory_mb":512})"},
      {{"--memory", "1.5Gi"}, R"({"memory_mb":1536})"},
      // 1/2^20 MiB is 0.00000095367431640625; rounded down at a billionth, up again by the reader.
      {{"--memory", "1"}, R"({"memory_mb":0.000000953})"},
      {{"--memory", "8Pi"}, R"({"memory_mb":8589934592})"},
      {{"--gpu-memory", "4G"}, R"({"gpu_memory_mb":3814.697265625})"},
  };
  for (const Row& row : rows) {
    FakeAgent agent(kReceipt, /*inside=*/true);
    std::vector<const char*> arguments = row.flags;
    arguments.insert(arguments.begin(), "report");
    Ran ran = RunCli({&kReportCommand}, arguments);
    EXPECT_EQ(ran.status, 0) << ran.err;
    const std::vector<wire::HttpRequest> requests = agent.requests();
    ASSERT_EQ(requests.size(), 1U);
    EXPECT_EQ(requests[0].method, "POST");
    EXPECT_EQ(requests[0].target, "/v1/self/usage");
    EXPECT_EQ(requests[0].body, row.body);
  }
}

TEST(Report, PrintsTheReceipt) {
  FakeAgent agent(kReceipt, true);
  EXPECT_EQ(RunCli({&kReportCommand}, {"report", "--tokens", "1500"}).out,
            "recorded: tokens 1500\n");
  EXPECT_EQ(RunCli({&kReportCommand}, {"report", "--tokens", "1500", "--json"}).out,
            kReceipt.body + "\n");
}

TEST(Report, EachHasAKeyOfItsOwnUnlessOneIsGiven) {
  FakeAgent agent(kReceipt, true);
  for (int i = 0; i < 2; ++i) RunCli({&kReportCommand}, {"report", "--tokens", "1"});
  RunCli({&kReportCommand}, {"report", "--tokens", "1", "--key", "batch-7"});
  const std::vector<wire::HttpRequest> requests = agent.requests();
  ASSERT_EQ(requests.size(), 3U);
  const std::string first(wire::FindHeader(requests[0].headers, "idempotency-key"));
  const std::string second(wire::FindHeader(requests[1].headers, "idempotency-key"));
  EXPECT_EQ(first.size(), 34U) << first;  // 32 digits in quotes
  EXPECT_NE(first, second);
  EXPECT_EQ(wire::FindHeader(requests[2].headers, "idempotency-key"), "\"batch-7\"");
}

TEST(Report, AsksAgainWithTheSameKeyWhenTheAnswerIsLost) {
  std::mutex mutex;
  std::vector<std::string> keys;
  wire::TestServer server([&](int fd) {
    std::optional<wire::HttpRequest> request = wire::ReadRequest(fd);
    if (!request) return;
    std::lock_guard lock(mutex);
    keys.emplace_back(wire::FindHeader(request->headers, "idempotency-key"));
    if (keys.size() == 2) wire::SendText(fd, wire::Serialize(kReceipt, true));
  });
  ScopedEnv socket("METE_SOCKET", server.path().c_str());
  Ran ran = RunCli({&kReportCommand}, {"report", "--tokens", "1500"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  std::lock_guard lock(mutex);
  ASSERT_EQ(keys.size(), 2U);
  EXPECT_EQ(keys[0], keys[1]);
}

TEST(Report, WhatTheAgentRefusesIsNotAskedAgain) {
  FakeAgent agent(Problem(422, "E2071", "used before with another content"), true);
  Ran ran = RunCli({&kReportCommand}, {"report", "--tokens", "1", "--key", "k"});
  EXPECT_EQ(ran.status, 1);
  ExpectOneErrorLine(ran, "mete: E2071: used before with another content\n");
  EXPECT_EQ(agent.requests().size(), 1U);
}

TEST(Report, NeedsAnAmountAndAnAgent) {
  ScopedEnv socket("METE_SOCKET", nullptr);
  Ran nothing = RunCli({&kReportCommand}, {"report"});
  EXPECT_EQ(nothing.status, 2);
  ExpectOneErrorLine(nothing, "mete: E2071: report names no amount");
  Ran outside = RunCli({&kReportCommand}, {"report", "--tokens", "1"});
  EXPECT_EQ(outside.status, 1);
  ExpectOneErrorLine(outside, "mete: E2070: not inside an agent: METE_SOCKET is not set");
  Ran bad = RunCli({&kReportCommand}, {"report", "--tokens", "-1"});
  EXPECT_EQ(bad.status, 2);
  ExpectOneErrorLine(bad, "mete: E2071: --tokens: must be");
  EXPECT_EQ(RunCli({&kReportCommand}, {"report", "1500"}).status, 2);
  EXPECT_EQ(RunCli({&kReportCommand}, {"report", "--tokens", "1", "--key", "a\"b"}).status, 2);
}

}  // namespace
}  // namespace mete::cli
