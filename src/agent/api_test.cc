#include "agent/api.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/test_agent.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

using wire::HttpResponse;

Peer PeerOf(pid_t pid) {
  Peer peer;
  peer.pid = pid;
  peer.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  return peer;
}

class ApiTest : public testing::Test {
 protected:
  ApiTest()
      : agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}})),
        loop(*Loop::Create()),
        holds(*loop, *agent),
        api(*agent, holds) {}

  HttpResponse Agent(std::string method, std::string target, std::string body = {},
                     std::string key = {}) {
    wire::HttpRequest request{std::move(method), std::move(target), {}, std::move(body)};
    if (!key.empty()) request.headers.emplace_back("idempotency-key", key);
    return api.AnswerAgent(request, PeerOf(getpid()));
  }
  HttpResponse Operator(std::string method, std::string target, std::string body = {}) {
    return api.AnswerOperator({std::move(method), std::move(target), {}, std::move(body)},
                              PeerOf(getpid()));
  }
  std::string Quota(std::string_view rest = {}) {
    return "/v1/quotas/agent/" + agent->id() + std::string(rest);
  }
  std::int64_t Used() { return agent.Usage().used; }

  static std::string Member(const HttpResponse& response, std::string_view name) {
    const auto json = wire::ParseJson(response.body);
    if (!json || json->Find(name) == nullptr) return "(none)";
    const wire::Json& member = *json->Find(name);
    if (member.AsString()) return *member.AsString();
    if (member.AsBool()) return *member.AsBool() ? "true" : "false";
    return member.AsNumber() ? member.AsNumber()->text : "(other)";
  }
  static std::string Code(const HttpResponse& response) { return Member(response, "code"); }

  TestAgent agent;
  std::unique_ptr<Loop> loop;
  HoldOwners holds;
  Api api;
};

TEST_F(ApiTest, AReportIsAnsweredBeforeItIsActedUpon) {
  EXPECT_EQ(Agent("POST", "/v1/self/usage", R"({"tokens": 1100})").status, 200);
  const HttpResponse second = Agent("POST", "/v1/self/usage", R"({"tokens": 1})");
  EXPECT_EQ(Member(second, "suspended"), "true");
  EXPECT_EQ(Member(second, "action_pending"), "true");
  EXPECT_EQ(agent->state(), State::kRunning);
  agent->Reconcile();
  EXPECT_EQ(agent->state(), State::kSuspended);
  EXPECT_EQ(Agent("POST", "/v1/self/usage", R"({"tokens": 1})").status, 200)
      << "also counted when suspended";
  EXPECT_EQ(Used(), 1102);
}

TEST_F(ApiTest, ARefusedReportRecordsNothing) {
  for (const char* body : {"", "{", R"({"tokens": -1})", R"({"tokens": 1, "x": 2})"}) {
    const HttpResponse response = Agent("POST", "/v1/self/usage", body, "key-1");
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(Code(response), "E2071");
  }
  EXPECT_EQ(Used(), 0);
  EXPECT_EQ(Agent("POST", "/v1/self/usage", R"({"tokens": 3})", "key-1").status, 200)
      << "a refusal does not use up its key";
  EXPECT_EQ(Used(), 3);
}

TEST_F(ApiTest, TheSameKeyCountsOnce) {
  const HttpResponse first = Agent("POST", "/v1/self/usage", R"({"tokens": 5})", "k");
  EXPECT_EQ(Member(first, "replayed"), "false");
  const HttpResponse again = Agent("POST", "/v1/self/usage", R"({"tokens": 5})", "k");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(Member(again, "replayed"), "true");
  EXPECT_NE(again.body.find(R"("recorded":{"tokens":5})"), std::string::npos) << again.body;
  EXPECT_EQ(Used(), 5);
  const HttpResponse quoted = Agent("POST", "/v1/self/usage", R"({"tokens": 5})", "\"k\"");
  EXPECT_EQ(Member(quoted, "replayed"), "true") << "quotes are no part of the key";
  EXPECT_EQ(Agent("POST", "/v1/self/usage", R"({"tokens": 5})", "\"k").status, 422);
  const HttpResponse other = Agent("POST", "/v1/self/usage", R"({"tokens": 6})", "k");
  EXPECT_EQ(other.status, 422);
  EXPECT_EQ(Code(other), "E2071");
  EXPECT_EQ(Used(), 5);
  agent.clock.Advance(std::chrono::hours(24) + std::chrono::seconds(1));
  EXPECT_EQ(Member(Agent("POST", "/v1/self/usage", R"({"tokens": 5})", "k"), "replayed"), "false");
  EXPECT_EQ(Agent("POST", "/v1/self/usage", R"({"tokens": 1})", std::string(256, 'k')).status, 422);
}

TEST_F(ApiTest, WhatMeteMeasuresIsNotCharged) {
  const HttpResponse response =
      Agent("POST", "/v1/self/usage", R"({"cpu_seconds": 100, "memory_mb": 5})");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body.find(R"("not_charged":["cpu_seconds","memory_mb"])"), std::string::npos);
  EXPECT_EQ(agent->totals().cpu_ns, 0);
}

TEST_F(ApiTest, HoldsAreGivenSettledAndReleased) {
  const HttpResponse hold = Agent("POST", "/v1/self/holds", R"({"tokens": 600})");
  ASSERT_EQ(hold.status, 201) << hold.body;
  const std::string id = Member(hold, "hold_id");
  EXPECT_EQ(Member(hold, "expires_at"), "2026-03-01T13:10:00Z");
  const HttpResponse refused = Agent("POST", "/v1/self/holds", R"({"tokens": 401})");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(Code(refused), "E2072");
  const HttpResponse settled = Agent("POST", "/v1/holds/" + id + "/settle", R"({"tokens": 650})");
  EXPECT_EQ(settled.status, 200);
  EXPECT_NE(settled.body.find(R"("above_hold":{"tokens":50})"), std::string::npos) << settled.body;
  EXPECT_EQ(Used(), 650);
  EXPECT_EQ(Agent("POST", "/v1/holds/" + id + "/settle", R"({"tokens": 1})").status, 200);
  EXPECT_EQ(Used(), 650) << "a second settle counts nothing";

  const std::string next = Member(Agent("POST", "/v1/self/holds", R"({"tokens": 10})"), "hold_id");
  const HttpResponse released = Agent("DELETE", "/v1/holds/" + next);
  EXPECT_EQ(released.status, 204);
  EXPECT_TRUE(released.body.empty());
  for (const std::string& bad : {next, std::string("77"), std::string("x"), std::string("-1")}) {
    EXPECT_EQ(Agent("DELETE", "/v1/holds/" + bad).status, 404) << bad;
    EXPECT_EQ(Code(Agent("POST", "/v1/holds/" + bad + "/settle", R"({"tokens": 1})")), "E2070");
  }
  const HttpResponse cpu = Agent("POST", "/v1/self/holds", R"({"cpu_seconds": 1})");
  EXPECT_EQ(cpu.status, 400);
  EXPECT_NE(Member(cpu, "detail").find("cpu_seconds"), std::string::npos);
}

TEST_F(ApiTest, WhatMeteMeasuresIsNotChargedByASettlement) {
  const std::string id = Member(Agent("POST", "/v1/self/holds", R"({"tokens": 10})"), "hold_id");
  const HttpResponse settled =
      Agent("POST", "/v1/holds/" + id + "/settle", R"({"tokens": 4, "cpu_seconds": 100})");
  EXPECT_EQ(settled.status, 200);
  EXPECT_NE(settled.body.find(R"("recorded":{"tokens":4})"), std::string::npos) << settled.body;
  EXPECT_NE(settled.body.find(R"("not_charged":["cpu_seconds"])"), std::string::npos);
  EXPECT_EQ(settled.body.find("above_hold"), std::string::npos);
  EXPECT_EQ(agent->totals().cpu_ns, 0);
}

TEST_F(ApiTest, AHoldWithAKeyIsGivenOnce) {
  const HttpResponse first = Agent("POST", "/v1/self/holds", R"({"tokens": 600})", "h");
  const HttpResponse again = Agent("POST", "/v1/self/holds", R"({"tokens": 600})", "h");
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(Member(again, "hold_id"), Member(first, "hold_id"));
  EXPECT_EQ(agent.Usage().held, 600);
  Agent("DELETE", "/v1/holds/" + Member(first, "hold_id"));
  EXPECT_EQ(Agent("POST", "/v1/self/holds", R"({"tokens": 600})", "h").status, 404);
}

TEST_F(ApiTest, AnAgentReadsItselfAndChangesNothing) {
  const HttpResponse self = Agent("GET", "/v1/self");
  EXPECT_EQ(self.status, 200);
  EXPECT_EQ(Member(self, "target_id"), agent->id());
  struct Row {
    const char* method;
    std::string target;
  };
  for (const Row& row :
       {Row{"PATCH", "/v1/self"}, Row{"DELETE", "/v1/self"}, Row{"PUT", "/v1/self"},
        Row{"POST", "/v1/self/reset"}, Row{"POST", "/v1/self/resume"},
        Row{"POST", "/v1/self/terminate"}, Row{"GET", "/v1/quotas"}, Row{"PATCH", Quota()},
        Row{"POST", Quota("/reset")}}) {
    const HttpResponse response =
        Agent(row.method, row.target, R"({"limits": {"tokens_per_hour": null}})");
    EXPECT_EQ(response.status, 403) << row.method << " " << row.target;
    EXPECT_EQ(Code(response), "E2078") << row.method << " " << row.target;
  }
  EXPECT_EQ(agent.Usage().limit.amount, 1000);
}

TEST_F(ApiTest, UnknownPathsAndMethodsAreToldApart) {
  for (const char* target : {"/", "", "/v1", "/v2/self", "/v1/self/x", "/v1/holds", "/v1/holds/",
                             "/metrics", "/v1/holds/1/x"}) {
    EXPECT_EQ(Agent("GET", target).status, target == std::string("/v1/holds/") ? 405 : 404)
        << target;
  }
  const HttpResponse wrong = Agent("GET", "/v1/self/usage");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wire::FindHeader(wrong.headers, "allow"), "POST");
  EXPECT_EQ(Operator("GET", "/v1/self").status, 404);
  EXPECT_EQ(Operator("GET", "/v1/quotas/agent/other").status, 404);
  EXPECT_EQ(Operator("GET", "/v1/quotas/tenant/" + agent->id()).status, 404);
  EXPECT_EQ(Operator("POST", Quota("/explode")).status, 404);
  EXPECT_EQ(Operator("GET", Quota("/reset")).status, 405);
  EXPECT_EQ(Operator("DELETE", Quota()).status, 405);
  EXPECT_EQ(Operator("POST", "/v1/quotas").status, 405);
}

TEST_F(ApiTest, AnOperatorReadsAndRaises) {
  api.SetLeader(77);
  EXPECT_NE(Operator("GET", "/v1/quotas").body.find(agent->id()), std::string::npos);
  EXPECT_EQ(Member(Operator("GET", Quota()), "pid"), "77");
  agent.Tokens(1100);
  agent.Tokens(1);
  EXPECT_EQ(Member(Operator("GET", Quota("/usage")), "tokens_consumed"), "1101");
  EXPECT_EQ(Member(Operator("GET", Quota()), "state"), "suspended");
  const HttpResponse raised =
      Operator("PATCH", Quota(), R"({"limits": {"tokens_per_hour": "2000"}})");
  EXPECT_EQ(raised.status, 200);
  EXPECT_EQ(Member(raised, "state"), "running") << "done when it is answered";
  const HttpResponse bad = Operator("PATCH", Quota(), R"({"limits": {"memory": "1Ki"}})");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(Code(bad), "E2073");
  EXPECT_NE(Member(bad, "detail").find("at least 1Mi"), std::string::npos);
}

TEST_F(ApiTest, AnOperatorSuspendsResumesResetsAndEnds) {
  EXPECT_EQ(Member(Operator("POST", Quota("/suspend")), "state"), "suspended");
  EXPECT_EQ(Member(Operator("POST", Quota("/resume")), "state"), "running");
  agent.Tokens(1100);
  agent.Tokens(1);
  const HttpResponse refused = Operator("POST", Quota("/resume"));
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(Code(refused), "E2072");
  EXPECT_NE(Member(refused, "detail").find("tokens_per_hour"), std::string::npos);
  EXPECT_EQ(Member(Operator("POST", Quota("/resume"), R"({"override": true})"), "state"),
            "running");
  EXPECT_EQ(Operator("POST", Quota("/resume"), R"({"overrode": true})").status, 400);
  EXPECT_EQ(Member(Operator("POST", Quota("/reset")), "state"), "running");
  EXPECT_EQ(Used(), 0);
  const HttpResponse ended = Operator("POST", Quota("/terminate"));
  EXPECT_EQ(ended.status, 202);
  EXPECT_EQ(Member(ended, "state"), "terminating");
  EXPECT_EQ(agent->ended().value().kind, EndCause::kOperator);
  for (const char* verb : {"/suspend", "/resume", "/reset"}) {
    EXPECT_EQ(Code(Operator("POST", Quota(verb))), "E2080") << verb;
  }
}

TEST_F(ApiTest, ASuspendThatFailsSaysSo) {
  agent.host.FailNext(cgroup::FakeCall::kFreeze, {ErrorCode::kSuspendFailed, "stuck"});
  const HttpResponse response = Operator("POST", Quota("/suspend"));
  EXPECT_EQ(response.status, 502);
  EXPECT_EQ(Code(response), "E2074");
}

TEST_F(ApiTest, TheControlSocketRefusesTheAgentAndTheDead) {
  const pid_t child = fork();
  if (child == 0) {
    agent->group().JoinSelf();
    pause();
    _exit(0);
  }
  for (int i = 0; i < 1000 && !agent->group().Contains(child); ++i) usleep(10'000);
  const Peer peer = PeerOf(child);
  const wire::HttpRequest request{"GET", "/v1/quotas", {}, {}};
  const HttpResponse inside = api.AnswerOperator(request, peer);
  EXPECT_EQ(inside.status, 403);
  EXPECT_EQ(Code(inside), "E2078");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(api.AnswerOperator(request, peer).status, 403) << "gone: nobody can tell any more";
  EXPECT_EQ(api.AnswerOperator(request, Peer{}).status, 403);
  EXPECT_EQ(api.AnswerOperator(request, PeerOf(getpid())).status, 200);
}

}  // namespace
}  // namespace mete::agent
