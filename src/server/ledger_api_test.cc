#include "server/ledger_api.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire/json.h"

namespace mete::server {
namespace {

using wire::HttpResponse;
using wire::Json;

std::string Text(const Json& json, std::string_view name) {
  const Json* member = json.Find(name);
  if (member == nullptr) return "(none)";
  if (member->IsNull()) return "null";
  if (member->AsNumber()) return member->AsNumber()->text;
  if (member->AsBool()) return *member->AsBool() ? "true" : "false";
  return member->AsString() ? *member->AsString() : "(other)";
}

class LedgerApiTest : public testing::Test {
 protected:
  LedgerApiTest()
      : manager(*ResourceManager::Create(Config(), clock)),
        owners(*Owners::Create(*manager)),
        api(*manager, *owners, {"memory", ""}, DefaultPolicies()),
        self(agent::IdentifySelf()) {}

  static ManagerConfig Config() {
    ManagerConfig config;
    config.default_limits = {};
    return config;
  }

  HttpResponse Ask(std::string method, std::string target, std::string body = {},
                   std::string key = {}) {
    wire::HttpRequest request{std::move(method), std::move(target), {}, std::move(body)};
    if (!key.empty()) request.headers.emplace_back("idempotency-key", key);
    return api.Answer(request, self);
  }
  // The body of an answer of that status.
  Json Expect(int status, const HttpResponse& response) {
    EXPECT_EQ(response.status, status) << response.body;
    Result<Json> json = wire::ParseJson(response.body);
    return json ? *json : Json{};
  }
  void Create(const char* body) { Expect(201, Ask("POST", "/v1/quotas", body)); }

  VirtualClock clock{Time(std::chrono::hours(5)), WallTime(std::chrono::hours(400'000))};
  std::unique_ptr<ResourceManager> manager;
  std::unique_ptr<Owners> owners;
  LedgerApi api;
  agent::Peer self;
};

TEST_F(LedgerApiTest, CreatesShowsChangesAndRemoves) {
  const Json made = Expect(
      201, Ask("POST", "/v1/quotas",
               R"({"scope":"tenant","target_id":"acme","limits":{"tokens_per_hour":"1k"}})"));
  EXPECT_EQ(Text(made, "scope"), "tenant");
  EXPECT_EQ(Text(made, "state"), "idle");
  EXPECT_EQ(Text(made, "parent"), "null");
  Create(R"({"scope":"agent","target_id":"a 1%","parent":"tenant/acme"})");
  const Json agent = Expect(200, Ask("GET", "/v1/quotas/agent/a%201%25"));
  EXPECT_EQ(Text(agent, "target_id"), "a 1%");
  EXPECT_EQ(Text(agent, "parent"), "tenant/acme");
  EXPECT_EQ(
      Text(*Expect(200, Ask("GET", "/v1/quotas/tenant/acme")).Find("limits"), "tokens_per_hour"),
      "1k");
  EXPECT_EQ(Text(Expect(409, Ask("POST", "/v1/quotas", R"({"scope":"tenant","target_id":"acme"})")),
                 "code"),
            "E2076");
  EXPECT_EQ(Expect(200, Ask("GET", "/v1/quotas")).Find("quotas")->AsArray()->size(), 2u);
  EXPECT_EQ(Expect(200, Ask("GET", "/v1/quotas?scope=agent")).Find("quotas")->AsArray()->size(),
            1u);
  EXPECT_EQ(Expect(200, Ask("GET", "/v1/quotas?offset=2")).Find("quotas")->AsArray()->size(), 0u);
  const Json changed = Expect(
      200, Ask("PATCH", "/v1/quotas/agent/a%201%25", R"({"limits":{"cpu":"2","memory":null}})"));
  EXPECT_EQ(Text(*changed.Find("limits"), "cpu"), "2");
  EXPECT_EQ(
      Text(Expect(404, Ask("PATCH", "/v1/quotas/agent/b", R"({"limits":{"cpu":"2"}})")), "code"),
      "E2073");
  EXPECT_EQ(Text(Expect(409, Ask("DELETE", "/v1/quotas/tenant/acme")), "code"), "E2080");
  EXPECT_EQ(Ask("DELETE", "/v1/quotas/tenant/acme?cascade=true").status, 204);
  EXPECT_EQ(Ask("DELETE", "/v1/quotas/tenant/acme").status, 204) << "may be repeated";
  EXPECT_EQ(Text(Expect(404, Ask("GET", "/v1/quotas/agent/a%201%25")), "code"), "E2070");
}

TEST_F(LedgerApiTest, CountsReportsAndTheirKeys) {
  Create(R"({"scope":"agent","target_id":"a","limits":{"tokens_per_hour":"100"}})");
  const std::string usage = "/v1/quotas/agent/a/usage";
  const Json receipt = Expect(200, Ask("POST", usage, R"({"tokens":30,"cost":"0.25"})", "\"k\""));
  EXPECT_EQ(Text(*receipt.Find("recorded"), "tokens"), "30");
  EXPECT_EQ(Text(*receipt.Find("recorded"), "cost"), "0.25");
  EXPECT_EQ(Text(receipt, "replayed"), "false");
  EXPECT_EQ(Text(receipt, "durable"), "(none)") << "without a store nothing is";
  EXPECT_EQ(Text(receipt.Find("limits")->AsArray()->front(), "remaining"), "70");
  const Json again = Expect(200, Ask("POST", usage, R"({"tokens":30,"cost":"0.25"})", "k"));
  EXPECT_EQ(Text(again, "replayed"), "true");
  EXPECT_EQ(Text(Expect(422, Ask("POST", usage, R"({"tokens":31})", "k")), "code"), "E2071");
  EXPECT_EQ(Text(Expect(200, Ask("GET", usage)), "tokens_consumed"), "30");
  EXPECT_EQ(
      Text(Expect(404, Ask("POST", "/v1/quotas/agent/b/usage", R"({"tokens":1})", "k")), "code"),
      "E2070");
  for (const char* bad : {"", "{}", "[]", R"({"tokens":-1})", R"({"tokens":1.5})",
                          R"({"tokens":1,"x":2})", R"({"tokens":9223372036854775808})",
                          R"({"tokens":1,"source":"guessed"})", R"({"source":"reported"})"}) {
    EXPECT_EQ(Text(Expect(400, Ask("POST", usage, bad, "other")), "code"), "E2071") << bad;
  }
  EXPECT_EQ(Ask("POST", usage, R"({"tokens":1})", std::string(256, 'k')).status, 422);
  EXPECT_EQ(Text(Expect(200, Ask("GET", usage)), "tokens_consumed"), "30");
}

TEST_F(LedgerApiTest, AnOperatorActs) {
  Create(R"({"scope":"agent","target_id":"a","limits":{"tokens_per_hour":"10"},)"
         R"("policy":{"tokens":{"mode":"hard"}}})");
  EXPECT_EQ(Text(Expect(200, Ask("POST", "/v1/quotas/agent/a/suspend")), "state"), "suspended");
  Expect(200, Ask("POST", "/v1/quotas/agent/a/usage", R"({"tokens":11})"));
  const Json refused = Expect(409, Ask("POST", "/v1/quotas/agent/a/resume"));
  EXPECT_EQ(Text(refused, "code"), "E2072");
  EXPECT_NE(Text(refused, "detail").find("tokens_per_hour"), std::string::npos);
  const Json held = Expect(200, Ask("GET", "/v1/quotas/agent/a"));
  ASSERT_EQ(held.Find("held_by")->AsArray()->size(), 1u);
  EXPECT_EQ(Text(held.Find("held_by")->AsArray()->front(), "account"), "agent/a");
  EXPECT_EQ(Text(held.Find("held_by")->AsArray()->front(), "action"), "suspend");
  EXPECT_EQ(
      Text(Expect(200, Ask("POST", "/v1/quotas/agent/a/resume", R"({"override":true})")), "state"),
      "idle");
  EXPECT_EQ(Text(Expect(200, Ask("POST", "/v1/quotas/agent/a/reset")), "state"), "idle");
  EXPECT_EQ(Text(*Expect(200, Ask("GET", "/v1/quotas/agent/a")).Find("usage"), "tokens_consumed"),
            "0");
  Expect(200, Ask("POST", "/v1/quotas/agent/a/clear-throttle"));
  EXPECT_EQ(Text(Expect(202, Ask("POST", "/v1/quotas/agent/a/terminate")), "state"), "terminated");
  for (const char* verb : {"suspend", "resume", "reset", "terminate", "clear-throttle", "detach"}) {
    const int status = Ask("POST", std::string("/v1/quotas/agent/nobody/") + verb).status;
    EXPECT_EQ(status, std::string_view(verb) == "detach" ? 403 : 404) << verb;
  }
}

TEST_F(LedgerApiTest, CausesFromAboveSayWhoseTheyAre) {
  Create(R"({"scope":"tenant","target_id":"acme","limits":{"tokens_per_hour":"10"},)"
         R"("policy":{"tokens":{"mode":"hard"}}})");
  Create(R"({"scope":"agent","target_id":"a","parent":"tenant/acme"})");
  Expect(200, Ask("POST", "/v1/quotas/agent/a/usage", R"({"tokens":11})"));
  const Json quota = Expect(200, Ask("GET", "/v1/quotas/agent/a"));
  EXPECT_EQ(*quota.Find("causes")->AsArray()->front().AsString(), "tokens_per_hour of tenant/acme");
}

TEST_F(LedgerApiTest, HoldsAreSettledReleasedAndRefused) {
  Create(R"({"scope":"agent","target_id":"a","limits":{"tokens_per_hour":"100"}})");
  const std::string holds = "/v1/quotas/agent/a/holds";
  const Json hold = Expect(201, Ask("POST", holds, R"({"tokens":90,"ttl_seconds":60})", "k"));
  EXPECT_EQ(
      Text(Expect(201, Ask("POST", holds, R"({"tokens":90,"ttl_seconds":60})", "k")), "hold_id"),
      Text(hold, "hold_id"))
      << "the same key";
  EXPECT_EQ(Text(Expect(429, Ask("POST", holds, R"({"tokens":11})")), "code"), "E2072");
  const std::string one = "/v1/holds/" + Text(hold, "hold_id");
  const Json settled = Expect(200, Ask("POST", one + "/settle", R"({"tokens":95})"));
  EXPECT_EQ(Text(*settled.Find("above_hold"), "tokens"), "5");
  EXPECT_EQ(Text(settled.Find("limits")->AsArray()->front(), "used"), "95");
  EXPECT_EQ(Text(*Expect(200, Ask("POST", one + "/settle", R"({"tokens":95})")).Find("recorded"),
                 "tokens"),
            "95")
      << "a second settle answers as the first did";
  const Json other = Expect(201, Ask("POST", holds, R"({"tokens":5})"));
  EXPECT_EQ(Ask("DELETE", "/v1/holds/" + Text(other, "hold_id")).status, 204);
  for (const char* unknown : {"/v1/holds/999", "/v1/holds/x", "/v1/holds/"}) {
    EXPECT_EQ(Ask("DELETE", unknown).status, 404) << unknown;
  }
  EXPECT_EQ(Ask("POST", holds, R"({"tokens":1,"ttl_seconds":86401})").status, 400);
  EXPECT_EQ(Text(Expect(200, Ask("GET", "/v1/quotas/agent/a/usage")), "tokens_consumed"), "95");
}

TEST_F(LedgerApiTest, OnlyWhoRunsATargetSamplesIt) {
  Create(R"({"scope":"agent","target_id":"a"})");
  const std::string base = "/v1/quotas/agent/a";
  const std::string sampled = R"({"cpu_seconds":2,"memory_mb":64,"source":"sampled"})";
  EXPECT_EQ(Text(Expect(403, Ask("POST", base + "/usage", sampled)), "code"), "E2078");
  const Json attached =
      Expect(200, Ask("POST", base + "/attach", R"({"measured":["cpu_seconds","memory_mb"]})"));
  EXPECT_EQ(Text(attached, "state"), "running");
  EXPECT_EQ(Text(attached, "pid"), std::to_string(getpid()));
  Expect(200, Ask("POST", base + "/attach", R"({"measured":["cpu_seconds","memory_mb"]})"));
  const Json counted = Expect(200, Ask("POST", base + "/usage", sampled));
  EXPECT_EQ(Text(*counted.Find("recorded"), "cpu_seconds"), "2");
  const Json told = Expect(200, Ask("POST", base + "/usage", R"({"cpu_seconds":5,"tokens":1})"));
  EXPECT_EQ(Text(*told.Find("recorded"), "cpu_seconds"), "(none)");
  EXPECT_EQ(*told.Find("not_charged")->AsArray()->front().AsString(), "cpu_seconds");
  EXPECT_EQ(Text(Expect(409, Ask("DELETE", base)), "code"), "E2080");
  EXPECT_EQ(Text(Expect(200, Ask("GET", base + "/usage")), "memory_mb"), "64");
  EXPECT_EQ(Text(Expect(200, Ask("POST", base + "/detach")), "state"), "idle");
  EXPECT_EQ(Text(Expect(200, Ask("GET", base + "/usage")), "memory_mb"), "0");
  EXPECT_EQ(Ask("POST", base + "/detach").status, 403);
  EXPECT_EQ(Ask("DELETE", base).status, 204);
}

TEST_F(LedgerApiTest, EventsComePageByPage) {
  Create(R"({"scope":"agent","target_id":"a"})");
  Create(R"({"scope":"agent","target_id":"b","limits":{"tokens_per_hour":"100"}})");
  Expect(200, Ask("POST", "/v1/quotas/agent/b/usage", R"({"tokens":85})"));
  const Json all = Expect(200, Ask("GET", "/v1/events"));
  ASSERT_EQ(all.Find("events")->AsArray()->size(), 3u);
  const Json& threshold = all.Find("events")->AsArray()->back();
  EXPECT_EQ(Text(threshold, "kind"), "threshold");
  EXPECT_EQ(Text(threshold, "target"), "agent/b");
  EXPECT_EQ(Text(threshold, "limit"), "tokens_per_hour");
  EXPECT_EQ(Text(threshold, "percent"), "80");
  EXPECT_EQ(Text(threshold, "used"), "85");
  EXPECT_EQ(Text(threshold, "amount"), "100");
  EXPECT_EQ(Text(all, "last"), "3");
  EXPECT_EQ(Text(all, "missed"), "0");
  const Json one = Expect(200, Ask("GET", "/v1/events?after=1&most=1"));
  EXPECT_EQ(Text(one.Find("events")->AsArray()->front(), "sequence"), "2");
  EXPECT_EQ(Text(one, "last"), "2");
  const Json none = Expect(200, Ask("GET", "/v1/events?after=3"));
  EXPECT_EQ(none.Find("events")->AsArray()->size(), 0u);
  EXPECT_EQ(Text(none, "last"), "3");
  EXPECT_EQ(
      Expect(200, Ask("GET", "/v1/events?target=agent%2Fa")).Find("events")->AsArray()->size(), 1u);
}

TEST_F(LedgerApiTest, AListIsCutIntoPagesThatAReaderTakes) {
  ResourceLimits limits;  // all of them
  for (const LimitInfo& info : AllLimits()) limits[info.kind] = *ParseLimit(info.kind, "0");
  for (int i = 0; i < 1990; ++i) {
    ASSERT_TRUE(manager->CreateQuota(std::string(200, 'x') + std::to_string(i), limits));
  }
  std::size_t seen = 0;
  std::string offset = "0";
  for (int page = 0; offset != "null"; ++page) {
    ASSERT_LE(page, 40);
    const HttpResponse response = Ask("GET", "/v1/quotas?offset=" + offset);
    EXPECT_LT(response.body.size(), wire::kMaxBodyBytes);
    const Json json = Expect(200, response);
    seen += json.Find("quotas")->AsArray()->size();
    offset = Text(json, "next");
  }
  EXPECT_EQ(seen, 1990u);
}

TEST_F(LedgerApiTest, PathsAndMethodsAreChecked) {
  struct Row {
    const char* method;
    const char* target;
    int status;
  };
  for (const Row& row : {Row{"GET", "/", 404},
                         Row{"GET", "/v2/quotas", 404},
                         Row{"GET", "/v1/quota", 404},
                         Row{"PUT", "/v1/quotas", 405},
                         Row{"GET", "/v1/quotas/agent", 404},
                         Row{"GET", "/v1/quotas/team/a", 400},
                         Row{"PUT", "/v1/quotas/agent/a", 405},
                         Row{"GET", "/v1/quotas/agent/a/reset", 405},
                         Row{"POST", "/v1/quotas/agent/a/jump", 404},
                         Row{"PUT", "/v1/quotas/agent/a/usage", 405},
                         Row{"GET", "/v1/quotas/agent/a/b/c", 404},
                         Row{"POST", "/v1/events", 405},
                         Row{"POST", "/v1/status", 405},
                         Row{"GET", "/v1/holds/1", 405},
                         Row{"GET", "/v1/holds/1/settle", 405},
                         Row{"GET", "/v1/quotas?limit=1", 400},
                         Row{"GET", "/v1/quotas?scope=team", 400},
                         Row{"GET", "/v1/quotas?offset=x", 400},
                         Row{"GET", "/v1/%", 400},
                         Row{"DELETE", "/v1/quotas/agent/a?cascade=maybe", 400},
                         Row{"DELETE", "/v1/quotas/agent/a?force=true", 400}}) {
    const HttpResponse response = Ask(row.method, row.target);
    EXPECT_EQ(response.status, row.status) << row.method << " " << row.target << response.body;
    EXPECT_EQ(wire::FindHeader(response.headers, "content-type"), "application/problem+json");
  }
  const Json status = Expect(200, Ask("GET", "/v1/status"));
  EXPECT_EQ(Text(status, "pid"), std::to_string(getpid()));
  EXPECT_EQ(Text(status, "ledger"), "memory");
  EXPECT_EQ(Text(status, "store"), "null");
}

}  // namespace
}  // namespace mete::server
