#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

const std::vector<const Command*> kCommands = {&kQuotaGetCommand, &kQuotaListCommand,
                                               &kQuotaSetCommand, &kQuotaResetCommand};
const wire::HttpResponse kQuota = {
    200, {}, R"({"scope":"agent","target_id":"a1","state":"running","limits":{}})"};

struct Row {
  std::vector<const char*> arguments;
  const char* method;
  const char* target;
  const char* body;
};

TEST(Quota, AsksTheAgentThatIsNamed) {
  const std::vector<Row> rows = {
      {{"get", "a1"}, "GET", "/v1/quotas/agent/a1", ""},
      {{"reset", "a1"}, "POST", "/v1/quotas/agent/a1/reset", ""},
      {{"set", "a1", "--tokens-per-hour", "40000"},
       "PATCH",
       "/v1/quotas/agent/a1",
       R"({"limits":{"tokens_per_hour":"40000"}})"},
      {{"set", "--memory=512Mi", "a1", "--cpu", "unlimited"},
       "PATCH",
       "/v1/quotas/agent/a1",
       R"({"limits":{"cpu":null,"memory":"512Mi"}})"},
      {{"set", "a1", "--cpu=1", "--memory=1Gi", "--gpu-memory=1Gi", "--tokens-per-hour=1",
        "--tokens-per-day=2", "--requests-per-minute=3", "--cost-per-day=0.5",
        "--cpu-seconds-per-hour=60"},
       "PATCH",
       "/v1/quotas/agent/a1",
       R"({"limits":{"cpu":"1","cpu_seconds_per_hour":"60","memory":"1Gi","gpu_memory":"1Gi",)"
       R"("tokens_per_hour":"1","tokens_per_day":"2","requests_per_minute":"3",)"
       R"("cost_per_day":"0.5"}})"},
      {{"list"}, "GET", "/v1/quotas/agent/a1", ""},
  };
  for (const Row& row : rows) {
    FakeAgent agent(kQuota);
    std::vector<const char*> arguments = row.arguments;
    arguments.insert(arguments.begin(), "quota");
    Ran ran = RunCli(kCommands, arguments);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_NE(ran.out.find("a1"), std::string::npos) << ran.out;
    const std::vector<wire::HttpRequest> requests = agent.requests();
    ASSERT_EQ(requests.size(), 1U) << row.target;
    EXPECT_EQ(requests[0].method, row.method);
    EXPECT_EQ(requests[0].target, row.target);
    EXPECT_EQ(requests[0].body, row.body);
  }
}

TEST(Quota, InsideAnAgentItIsTheAgentItselfWhoMayNot) {
  const std::vector<Row> rows = {
      {{"get"}, "GET", "/v1/self", ""},
      {{"reset"}, "POST", "/v1/self/reset", ""},
      {{"set", "--cpu", "2"}, "PATCH", "/v1/self", R"({"limits":{"cpu":"2"}})"},
  };
  for (const Row& row : rows) {
    FakeAgent agent(Problem(403, "E2078", "no"), /*inside=*/true);
    std::vector<const char*> arguments = row.arguments;
    arguments.insert(arguments.begin(), "quota");
    Ran ran = RunCli(kCommands, arguments);
    EXPECT_EQ(ran.status, 1);
    ExpectOneErrorLine(ran, "mete: E2078: no\n");
    const std::vector<wire::HttpRequest> requests = agent.requests();
    ASSERT_EQ(requests.size(), 1U);
    EXPECT_EQ(requests[0].method, row.method);
    EXPECT_EQ(requests[0].target, row.target);
    EXPECT_EQ(requests[0].body, row.body);
  }
}

TEST(Quota, UsageErrorsAskNobody) {
  FakeAgent agent(kQuota);
  const std::vector<std::pair<std::vector<const char*>, const char*>> rows = {
      {{"quota", "get"}, "mete: E2071: which agent? running: a1\n"},
      {{"quota", "get", "../a1"}, "mete: E2071: the id must be"},
      {{"quota", "get", "a1", "b"}, "mete: E2071: the scope must be one of agent, session, tenant"},
      {{"quota", "get", "agent", "a1", "b"}, "mete: E2071: quota get is given too much"},
      {{"quota", "set", "a1"}, "mete: E2071: quota set names no limit"},
      {{"quota", "set", "a1", "--memory", "2Gib"}, "mete: E2071: --memory: "},
      {{"quota", "set", "a1", "--memory", "1"},
       "mete: E2071: --memory: less than the kernel can hold, allowed: at least 1Mi, given: 1\n"},
      {{"quota", "set", "a1", "--cpu", "1m"},
       "mete: E2071: --cpu: less than the kernel can hold, allowed: at least 10m, given: 1m\n"},
      {{"quota", "set", "a1", "--memory", "7Ei"},
       "mete: E2071: --memory: more than the kernel can hold, allowed: at most 2Ei, given: 7Ei\n"},
      {{"quota", "set", "a1", "--cpu", "9999999"},
       "mete: E2071: --cpu: more than the kernel can hold, allowed: at most 1000000, "
       "given: 9999999\n"},
      {{"quota", "set", "a1", "--token-per-hour", "1"}, "mete: E2071: unknown option"},
      {{"quota", "list", "a1"}, "mete: E2071: quota list is given too much"},
  };
  for (const auto& [arguments, start] : rows) {
    Ran ran = RunCli(kCommands, arguments);
    EXPECT_EQ(ran.status, 2) << start;
    ExpectOneErrorLine(ran, start);
  }
  EXPECT_TRUE(agent.requests().empty());
}

TEST(QuotaList, SkipsTheDeadAndWhatIsNoAgent) {
  FakeAgent agent(kQuota);
  close(wire::ListenAt(agent.folder(), agent.folder() + "/mete/dead.sock"));
  close(wire::ListenAt(agent.folder(), agent.folder() + "/mete/no id.sock"));
  Ran text = RunCli(kCommands, {"quota", "list"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.find("dead"), std::string::npos) << text.out;
  EXPECT_EQ(RunCli(kCommands, {"quota", "list", "--json"}).out,
            "{\"quotas\":[" + kQuota.body + "]}\n");
}

TEST(QuotaList, NobodyIsNoError) {
  ScopedEnv runtime_dir("XDG_RUNTIME_DIR", "/nowhere");
  Ran text = RunCli(kCommands, {"quota", "list"});
  EXPECT_EQ(text.status, 0);
  EXPECT_EQ(text.out, "no agents are running\n");
  EXPECT_EQ(RunCli(kCommands, {"quota", "list", "--json"}).out, "{\"quotas\":[]}\n");
}

// One that refuses to answer is there all the same.
TEST(QuotaList, ARefusalIsNotTakenForNobody) {
  FakeAgent agent(Problem(403, "E2078", "no"));
  Ran ran = RunCli(kCommands, {"quota", "list"});
  EXPECT_EQ(ran.out, "");
  ExpectOneErrorLine(ran, "mete: E2078: no\n");
}

TEST(Quota, AFolderOfSomebodyElseIsNotTrusted) {
  FakeAgent agent(kQuota);
  // As a folder in /tmp that another user made first: writable by others.
  const std::string folder = agent.folder() + "/mete";
  ASSERT_EQ(chmod(folder.c_str(), 0777), 0);
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"quota", "get", "a1"}, {"quota", "list"}}) {
    Ran ran = RunCli(kCommands, arguments);
    EXPECT_EQ(ran.status, 1);
    ExpectOneErrorLine(ran, "mete: E2099: the folder for sockets must be");
  }
  EXPECT_TRUE(agent.requests().empty());
}

TEST(QuotaList, OneThatAnswersBadlyIsAnErrorBesideTheOthers) {
  FakeAgent agent({500, {}, ""});
  Ran ran = RunCli(kCommands, {"quota", "list"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_TRUE(ran.err.starts_with("mete: E2099: ")) << ran.err;
}

}  // namespace
}  // namespace mete::cli
