#include "agent/responses.h"

#include <gtest/gtest.h>

#include "agent/test_agent.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

using wire::Json;

Json Parse(const std::string& text) {
  Result<Json> json = wire::ParseJson(text);
  EXPECT_TRUE(json) << text;
  return json ? *json : Json{};
}

std::string Text(const Json& json, std::string_view name) {
  const Json* member = json.Find(name);
  if (member == nullptr) return "(none)";
  if (member->IsNull()) return "null";
  if (member->AsNumber()) return member->AsNumber()->text;
  if (member->AsBool()) return *member->AsBool() ? "true" : "false";
  return member->AsString() ? *member->AsString() : "(other)";
}

TEST(ProblemOf, HasTheStatusOfItsCode) {
  struct Row {
    ErrorCode code;
    int status;
  };
  for (const Row& row : {Row{ErrorCode::kNotFound, 404}, Row{ErrorCode::kInvalidArgument, 400},
                         Row{ErrorCode::kLimitExceeded, 429}, Row{ErrorCode::kUpdateFailed, 400},
                         Row{ErrorCode::kSuspendFailed, 502}, Row{ErrorCode::kTerminateFailed, 502},
                         Row{ErrorCode::kAlreadyExists, 409}, Row{ErrorCode::kRateLimited, 429},
                         Row{ErrorCode::kNotPermitted, 403}, Row{ErrorCode::kStoreUnavailable, 503},
                         Row{ErrorCode::kInUse, 409}, Row{ErrorCode::kSystem, 500}}) {
    const wire::HttpResponse response = ProblemOf({row.code, "why \"so\""});
    EXPECT_EQ(response.status, row.status);
    EXPECT_EQ(wire::FindHeader(response.headers, "content-type"), "application/problem+json");
    const Json json = Parse(response.body);
    EXPECT_EQ(Text(json, "code"), ErrorCodeName(row.code));
    EXPECT_EQ(Text(json, "status"), std::to_string(row.status));
    EXPECT_EQ(Text(json, "detail"), "why \"so\"");
    EXPECT_NE(Text(json, "title"), "(none)");
  }
  EXPECT_EQ(ProblemOf({ErrorCode::kInvalidArgument, "x"}, 422).status, 422);
}

TEST(ProblemOf, SaysWhenToComeBack) {
  Error error{ErrorCode::kRateLimited, "too fast"};
  error.retry_after = std::chrono::milliseconds(1500);
  const wire::HttpResponse response = ProblemOf(error);
  EXPECT_EQ(wire::FindHeader(response.headers, "retry-after"), "2");
  EXPECT_EQ(Text(Parse(response.body), "retry_after_seconds"), "1.5");
  EXPECT_EQ(wire::FindHeader(ProblemOf({ErrorCode::kRateLimited, "x"}).headers, "retry-after"), "");
}

TEST(QuotaJson, TellsLimitsUsageAndState) {
  AgentConfig config = TestConfig({{LimitKind::kCpu, "500m"},
                                   {LimitKind::kMemory, "256Mi"},
                                   {LimitKind::kTokensPerHour, "1k"},
                                   {LimitKind::kCostPerDay, "2.5"}});
  TestAgent agent(config);
  agent.meters.cpu_ns = 1'250'000'000;
  agent.meters.memory_bytes = 12'582'912 + 524'288;
  agent->Measure();
  agent.Tokens(1100);
  agent.Tokens(200);
  const Json quota = Parse(QuotaJson(*agent, 4712));
  EXPECT_EQ(Text(quota, "scope"), "agent");
  EXPECT_EQ(Text(quota, "target_id"), config.id);
  EXPECT_EQ(Text(quota, "state"), "suspended");
  EXPECT_EQ(Text(quota, "is_throttled"), "false");
  EXPECT_EQ(Text(quota, "pid"), "4712");
  EXPECT_EQ(Text(quota, "reset_at"), "2026-03-01T14:00:00Z");
  ASSERT_EQ(quota.Find("causes")->AsArray()->size(), 1u);
  EXPECT_EQ(*quota.Find("causes")->AsArray()->front().AsString(), "tokens_per_hour");
  const Json& limits = *quota.Find("limits");
  EXPECT_EQ(Text(limits, "cpu"), "500m") << "as entered";
  EXPECT_EQ(Text(limits, "memory"), "256Mi");
  EXPECT_EQ(Text(limits, "tokens_per_hour"), "1k");
  EXPECT_EQ(Text(limits, "tokens_per_day"), "(none)");
  const Json& usage = *quota.Find("usage");
  EXPECT_EQ(Text(usage, "cpu_seconds"), "1.25");
  EXPECT_EQ(Text(usage, "memory_mb"), "12.5");
  EXPECT_EQ(Text(usage, "memory_peak_mb"), "12.5");
  EXPECT_EQ(Text(usage, "tokens_consumed"), "1300");
  EXPECT_EQ(Text(usage, "requests"), "0");
  EXPECT_EQ(Text(usage, "cost"), "0");
  bool tokens_seen = false;
  for (const Json& window : *quota.Find("windows")->AsArray()) {
    if (Text(window, "limit") == "cost_per_day") {
      EXPECT_EQ(Text(window, "amount"), "2.5");
    }
    if (Text(window, "limit") == "memory") {
      EXPECT_EQ(Text(window, "reset_at"), "null");
    }
    if (Text(window, "limit") != "tokens_per_hour") continue;
    tokens_seen = true;
    EXPECT_EQ(Text(window, "amount"), "1000");
    EXPECT_EQ(Text(window, "used"), "1300");
    EXPECT_EQ(Text(window, "held"), "0");
    EXPECT_EQ(Text(window, "remaining"), "0");
    EXPECT_EQ(Text(window, "violated"), "true");
    EXPECT_EQ(Text(window, "reset_at"), "2026-03-01T14:00:00Z");
  }
  EXPECT_TRUE(tokens_seen);
}

TEST(QuotaJson, OfAnAgentWithoutLimitsIsWhole) {
  TestAgent agent(TestConfig());
  const Json quota = Parse(QuotaJson(*agent, std::nullopt));
  EXPECT_EQ(Text(quota, "state"), "running");
  EXPECT_EQ(Text(quota, "pid"), "(none)");
  EXPECT_EQ(Text(quota, "reset_at"), "null");
  EXPECT_TRUE(quota.Find("limits")->AsObject()->empty());
  EXPECT_TRUE(quota.Find("windows")->AsArray()->empty());
  const Json list = Parse(QuotaListJson(*agent, std::nullopt));
  EXPECT_EQ(list.Find("quotas")->AsArray()->size(), 1u);
}

TEST(QuotaJson, NamesTheOperatorAsACause) {
  TestAgent agent(TestConfig());
  ASSERT_TRUE(agent->account().Suspend());
  const Json quota = Parse(QuotaJson(*agent, std::nullopt));
  EXPECT_EQ(*quota.Find("causes")->AsArray()->front().AsString(), "operator");
}

TEST(QuotaJson, OfALimitThatWasLiftedHasNone) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "5"}}));
  ResourceLimits unlimited;
  unlimited[LimitKind::kTokensPerHour] = Limit{};
  ASSERT_TRUE(agent->SetLimits(unlimited));
  const Json quota = Parse(QuotaJson(*agent, std::nullopt));
  EXPECT_TRUE(quota.Find("limits")->AsObject()->empty());
  for (const Json& window : *quota.Find("windows")->AsArray()) {
    EXPECT_EQ(Text(window, "amount"), "null");
    EXPECT_EQ(Text(window, "remaining"), "null");
  }
}

TEST(TotalsJson, AreLifetimeTotals) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}}));
  agent.Tokens(900);
  ASSERT_TRUE(agent->account().Reset());
  agent.Tokens(1);
  EXPECT_EQ(Text(Parse(TotalsJson(*agent)), "tokens_consumed"), "901");
  EXPECT_EQ(Text(*Parse(QuotaJson(*agent, std::nullopt)).Find("usage"), "tokens_consumed"), "1");
}

TEST(ReceiptJson, TellsWhatWasRecordedAndWhatNot) {
  TestAgent agent(TestConfig({{LimitKind::kTokensPerHour, "1000"}}));
  Settlement settlement;
  settlement.used.Set(Resource::kTokens, 900)
      .Set(Resource::kCost, 250'000'000)
      .Set(Resource::kGpuMemory, 3 << 19);
  const auto receipt = agent->Report(Amounts(settlement.used).Set(Resource::kCpu, 5));
  ASSERT_TRUE(receipt);
  settlement.receipt = *receipt;
  const Json json = Parse(ReceiptJson(settlement, agent->quota(), true, agent.clock));
  EXPECT_EQ(Text(*json.Find("recorded"), "tokens"), "900");
  EXPECT_EQ(Text(*json.Find("recorded"), "cost"), "0.25");
  EXPECT_EQ(Text(*json.Find("recorded"), "gpu_memory_mb"), "1.5");
  EXPECT_EQ(Text(*json.Find("recorded"), "cpu_seconds"), "(none)");
  EXPECT_EQ(*json.Find("not_charged")->AsArray()->front().AsString(), "cpu_seconds");
  EXPECT_EQ(Text(json, "replayed"), "true");
  EXPECT_EQ(Text(json, "suspended"), "false");
  EXPECT_EQ(json.Find("above_hold"), nullptr);
  ASSERT_EQ(json.Find("limits")->AsArray()->size(), 1u);
  EXPECT_EQ(Text(json.Find("limits")->AsArray()->front(), "remaining"), "100");
}

TEST(ReceiptJson, TellsWhatWasAboveTheHold) {
  VirtualClock clock;
  Settlement settlement;
  settlement.above_hold.Set(Resource::kTokens, 5);
  const Json json = Parse(ReceiptJson(settlement, {}, false, clock));
  EXPECT_EQ(Text(*json.Find("above_hold"), "tokens"), "5");
}

TEST(MebiNano, IsExactToABillionth) {
  EXPECT_EQ(MebiNano(0), 0);
  EXPECT_EQ(MebiNano(1 << 20), 1'000'000'000);
  EXPECT_EQ(MebiNano(1), 953);
  EXPECT_EQ(MebiNano(std::int64_t{1} << 50), std::int64_t{1'000'000'000} << 30);
}

}  // namespace
}  // namespace mete::agent
