#include "server/ledger_requests.h"

#include <gtest/gtest.h>

namespace mete::server {
namespace {

TEST(ReadPath, SplitsAndDecodes) {
  struct Row {
    const char* target;
    std::vector<std::string> parts;
  };
  for (const Row& row : {Row{"/v1/quotas", {"v1", "quotas"}}, Row{"/", {""}},
                         Row{"/a%20b/%C3%A9", {"a b", "\xC3\xA9"}}, Row{"/a%2fb", {"a/b"}},
                         Row{"/a/?x=1", {"a", ""}}, Row{"/%41", {"A"}}}) {
    const Result<RequestPath> path = ReadPath(row.target);
    ASSERT_TRUE(path) << row.target;
    EXPECT_EQ(path->parts, row.parts) << row.target;
  }
  for (const char* bad : {"/%", "/%4", "/%4g", "/a%", "/a?x=%", "/a?x=1&x=2"}) {
    const Result<RequestPath> refused = ReadPath(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << bad;
  }
}

TEST(ReadPath, EveryIdComesThrough) {
  std::string every;
  for (int c = 1; c < 256; ++c) every += static_cast<char>(c);
  EXPECT_EQ(ReadPath("/v1/" + PercentEncoded(every))->parts[1], every);
  EXPECT_EQ(PercentEncoded("a-B.9_~"), "a-B.9_~");
}

TEST(ReadPath, TellsParametersApart) {
  const RequestPath path = *ReadPath("/x?a=1&b=&c&d=%26");
  EXPECT_EQ(path.Query("a"), "1");
  EXPECT_EQ(path.Query("b"), "");
  EXPECT_EQ(path.Query("c"), "");
  EXPECT_EQ(path.Query("d"), "&");
  EXPECT_FALSE(path.Query("e"));
  EXPECT_TRUE(path.AllowOnly({"a", "b", "c", "d"}));
  EXPECT_EQ(path.AllowOnly({"a", "b", "c"}).error().message,
            "unknown parameter, allowed: a, b, c, given: \"d\"");
}

TEST(ReadCreate, TakesAllOfIt) {
  const Result<CreateMessage> message = ReadCreate(
      R"({"scope":"agent","target_id":"a1","parent":"session/s1","limits":{"cpu":"500m",)"
      R"("memory":null,"tokens_per_hour":1000},"policy":{"tokens":{"action":"terminate"}},)"
      R"("window_seconds":60,"exist_ok":true})",
      DefaultPolicies());
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->target.ToString(), "agent a1");
  EXPECT_EQ(message->options.parent, (TargetName{QuotaScope::kSession, "s1"}));
  EXPECT_EQ(message->limits[LimitKind::kCpu]->text, "500m");
  EXPECT_EQ(message->limits[LimitKind::kMemory]->amount, kUnlimited);
  EXPECT_EQ(message->limits[LimitKind::kTokensPerHour]->amount, 1000);
  EXPECT_FALSE(message->limits[LimitKind::kTokensPerDay]);
  const auto& tokens = message->options.policies[static_cast<std::size_t>(Resource::kTokens)];
  ASSERT_TRUE(tokens);
  EXPECT_EQ(tokens->action, QuotaAction::kTerminate);
  EXPECT_EQ(tokens->mode, EnforcementMode::kSoftThenHard) << "as configured";
  EXPECT_EQ(message->options.window, std::chrono::minutes(1));
  EXPECT_TRUE(message->options.exist_ok);
}

TEST(ReadCreate, NamesWhatIsWrong) {
  struct Row {
    const char* body;
    const char* start;
  };
  for (const Row& row : {
           Row{"", "JSON"},
           Row{"[]", "the body must be a JSON object"},
           Row{"{}", "scope: missing"},
           Row{R"({"scope":"agent"})", "target_id: missing"},
           Row{R"({"scope":"team","target_id":"a"})", "scope: allowed: agent, session, tenant"},
           Row{R"({"scope":1,"target_id":"a"})", "scope: allowed"},
           Row{R"({"scope":"agent","target_id":1})", "target_id: allowed: a text"},
           Row{R"({"scope":"agent","target_id":"a","parent":"s1"})", "parent: allowed: SCOPE/ID"},
           Row{R"({"scope":"agent","target_id":"a","parent":"x/s1"})", "parent: allowed: SCOPE/ID"},
           Row{R"({"scope":"agent","target_id":"a","limits":[]})", "limits: allowed"},
           Row{R"({"scope":"agent","target_id":"a","limits":{"cpus":"1"}})", "limits: unknown"},
           Row{R"({"scope":"agent","target_id":"a","limits":{"cpu":true}})", "cpu: allowed"},
           Row{R"({"scope":"agent","target_id":"a","limits":{"cpu":"x"}})", "cpu"},
           Row{R"({"scope":"agent","target_id":"a","policy":{"gold":{}}})", "policy: unknown"},
           Row{R"({"scope":"agent","target_id":"a","policy":{"cpu":{"mode":"x"}}})",
               "policy.cpu.mode: allowed: hard"},
           Row{R"({"scope":"agent","target_id":"a","policy":{"cpu":{"action":5}}})",
               "policy.cpu.action: allowed: warn"},
           Row{R"({"scope":"agent","target_id":"a","policy":{"cpu":{"x":5}}})",
               "policy.cpu: unknown field"},
           Row{R"({"scope":"agent","target_id":"a","window_seconds":"x"})", "window_seconds"},
           Row{R"({"scope":"agent","target_id":"a","exist_ok":1})", "exist_ok: allowed: true"},
           Row{R"({"scope":"agent","target_id":"a","colour":1})", "unknown field, allowed: scope"},
       }) {
    const Result<CreateMessage> refused = ReadCreate(row.body, DefaultPolicies());
    ASSERT_FALSE(refused) << row.body;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << row.body;
    EXPECT_TRUE(refused.error().message.contains(row.start)) << refused.error().message;
  }
}

TEST(ReadAttach, TakesWhatIsMeasured) {
  EXPECT_TRUE(ReadAttach("")->measured.empty());
  const auto running = ReadAttach(R"({"measured":["cpu_seconds","memory_mb"],"cpu_held":true})");
  ASSERT_TRUE(running);
  EXPECT_EQ(running->measured, (ResourceSet{Resource::kCpu, Resource::kMemory}));
  EXPECT_TRUE(running->cpu_held);
  for (const char* bad : {"[]", R"({"measured":"cpu"})", R"({"measured":["cpu"]})",
                          R"({"cpu_held":1})", R"({"x":1})"}) {
    EXPECT_FALSE(ReadAttach(bad)) << bad;
  }
}

TEST(ReadEventsQuery, KnowsItsParameters) {
  const auto query = [](const char* path, std::string_view last = {}) {
    return ReadEventsQuery(*ReadPath(path), last);
  };
  EXPECT_FALSE(query("/v1/events")->after);
  EXPECT_FALSE(query("/v1/events")->follow);
  EXPECT_EQ(query("/v1/events?after=7")->after, 7u);
  EXPECT_EQ(query("/v1/events?after=7", "9")->after, 9u) << "where it was cut off";
  EXPECT_TRUE(query("/v1/events?follow")->follow);
  EXPECT_TRUE(query("/v1/events?follow=true")->follow);
  EXPECT_FALSE(query("/v1/events?follow=false")->follow);
  EXPECT_EQ(query("/v1/events?target=tenant%2Facme")->target,
            (TargetName{QuotaScope::kTenant, "acme"}));
  EXPECT_EQ(query("/v1/events?most=500")->most, 500u);
  for (const char* bad :
       {"/e?after=x", "/e?after=-1", "/e?after=", "/e?follow=1", "/e?most=0", "/e?most=501",
        "/e?target=a1", "/e?before=1", "/e?after=18446744073709551616"}) {
    const auto refused = query(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(query("/v1/events", "x"));
}

}  // namespace
}  // namespace mete::server
