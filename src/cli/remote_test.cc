#include "cli/remote.h"

#include <gtest/gtest.h>

#include "cli/command_test.h"

namespace mete::cli {
namespace {

TEST(Target, AnIdNamesAControlSocket) {
  ScopedEnv runtime_dir("XDG_RUNTIME_DIR", "/run/user/7");
  Result<Target> target = AgentTarget("a1");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->socket, "/run/user/7/mete/a1.sock");
  EXPECT_EQ(target->path, "/v1/quotas/agent/a1");
  for (const char* bad : {"", "../a", "a/b", "a b", "a%2f", "a\n"}) {
    Result<Target> refused = AgentTarget(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(Target, WithoutAnIdItIsTheAgentAround) {
  ScopedEnv runtime_dir("XDG_RUNTIME_DIR", "/nowhere");
  {
    ScopedEnv socket("METE_SOCKET", "/run/x.agent");
    Result<Target> target = QuotaTarget({});
    ASSERT_TRUE(target);
    EXPECT_EQ(target->socket, "/run/x.agent");
    EXPECT_EQ(target->path, "/v1/self");
    EXPECT_EQ(QuotaTarget({"a1"})->path, "/v1/quotas/agent/a1");
  }
  for (const char* none : {static_cast<const char*>(nullptr), ""}) {
    ScopedEnv socket("METE_SOCKET", none);
    EXPECT_EQ(SelfTarget().error().code, ErrorCode::kNotFound);
    EXPECT_EQ(QuotaTarget({}).error().message, "which agent? none is running");
  }
}

TEST(Call, BringsWhatWasAnswered) {
  FakeAgent agent({200, {}, R"({"state":"running"})"});
  Result<Reply> reply = Call(*AgentTarget("a1"), "POST", "/resume", R"({"override":true})",
                             {{"idempotency-key", "\"k\""}});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->text, R"({"state":"running"})");
  EXPECT_EQ(TextOf(reply->json, "state"), "running");
  const std::vector<wire::HttpRequest> requests = agent.requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].target, "/v1/quotas/agent/a1/resume");
  EXPECT_EQ(requests[0].body, R"({"override":true})");
  EXPECT_EQ(wire::FindHeader(requests[0].headers, "content-type"), "application/json");
  EXPECT_EQ(wire::FindHeader(requests[0].headers, "idempotency-key"), "\"k\"");
}

TEST(Call, ARefusalKeepsItsCodeAndText) {
  FakeAgent agent(Problem(403, "E2078", "an agent cannot change its own limits"));
  Result<Reply> reply = Call(*AgentTarget("a1"), "PATCH", "", "{}");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().ToString(), "E2078: an agent cannot change its own limits");
}

TEST(Call, EveryCodeIsKnown) {
  for (int number = 2070; number <= 2080; ++number) {
    const std::string code = "E" + std::to_string(number);
    FakeAgent agent(Problem(409, code, "why"));
    Result<Reply> reply = Call(*AgentTarget("a1"), "GET", "", "");
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().ToString(), code + ": why");
  }
}

TEST(Call, OddAnswersAreErrors) {
  const std::vector<wire::HttpResponse> rows = {
      {500, {}, ""},         {404, {}, "not json"}, {400, {}, "{}"},
      {200, {}, "not json"}, {503, {}, "[]"},       {400, {}, R"({"code":5,"detail":null})"},
  };
  for (const wire::HttpResponse& response : rows) {
    FakeAgent agent(response);
    Result<Reply> reply = Call(*AgentTarget("a1"), "GET", "", "");
    ASSERT_FALSE(reply) << response.status << response.body;
    EXPECT_EQ(reply.error().code, ErrorCode::kSystem) << response.status << response.body;
  }
}

TEST(Call, AnAgentThatIsGoneIsNotFound) {
  FakeAgent agent({200, {}, "{}"});
  Result<Reply> other = Call(*AgentTarget("b"), "GET", "", "");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().ToString(), "E2070: no such agent is running: \"b\", running: a1");
  EXPECT_EQ(Call(*AgentTarget("a2"), "GET", "", "").error().message,
            "no such agent is running: \"a2\", did you mean a1?");

  ScopedEnv socket("METE_SOCKET", "/nowhere/x.agent");
  Result<Reply> self = Call(*SelfTarget(), "GET", "", "");
  ASSERT_FALSE(self);
  EXPECT_EQ(self.error().ToString(),
            "E2070: the `mete run` around this program is gone: METE_SOCKET is "
            "\"/nowhere/x.agent\"");
}

TEST(RunningIds, AreTheSocketsInTheRuntimeFolder) {
  FakeAgent agent({200, {}, "{}"});
  close(wire::ListenAt(agent.folder(), agent.folder() + "/mete/dead.sock"));
  EXPECT_EQ(RunningIds(), (std::vector<std::string>{"a1", "dead"}));
  ScopedEnv runtime_dir("XDG_RUNTIME_DIR", "/nowhere");
  EXPECT_EQ(RunningIds(), std::vector<std::string>());
}

}  // namespace
}  // namespace mete::cli
