#include "cli/quota_text.h"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

const char kSuspended[] = R"({
  "scope": "agent", "target_id": "run-7", "state": "suspended",
  "causes": ["tokens_per_hour", "operator"], "is_throttled": true, "pid": 8,
  "limits": {"cpu": "500m", "memory": "256Mi", "tokens_per_hour": "1000", "cost_per_day": "2.50"},
  "usage": {"cpu_seconds": 1.25012345, "memory_mb": 12.5, "memory_peak_mb": 14,
            "tokens_consumed": 1300, "requests": 4, "cost": 0.25},
  "windows": [
    {"limit": "tokens_per_hour", "amount": 1000, "used": 1300, "held": 0, "remaining": 0,
     "violated": true, "reset_at": "2026-03-01T13:00:00Z"},
    {"limit": "memory", "amount": 268435456, "used": 13107200, "held": 0,
     "remaining": 255328256, "violated": false, "reset_at": null},
    {"limit": "cost_per_day", "amount": 2.5, "used": 0.25, "held": 0, "remaining": 2.25,
     "violated": false, "reset_at": "2026-03-02T00:00:00Z"}],
  "reset_at": "2026-03-01T13:00:00Z"})";

wire::Json Read(std::string_view text) {
  Result<wire::Json> json = wire::ParseJson(text);
  if (!json) ADD_FAILURE() << json.error().message;
  return json.value_or(wire::Json{});
}

TEST(QuotaText, ShowsLimitsAndUsage) {
  EXPECT_EQ(QuotaText(Read(kSuspended)),
            "agent run-7: suspended, throttled (tokens_per_hour, operator)\n"
            "\n"
            "LIMIT            ALLOWED     USED      LEFT       RESETS\n"
            "cpu              500m cores  -         -          -\n"
            "memory           256Mi       12.5 MiB  243.5 MiB  -\n"
            "tokens_per_hour  1000        1300      0          2026-03-01T13:00:00Z\n"
            "cost_per_day     2.50        0.25      2.25       2026-03-02T00:00:00Z\n"
            "\n"
            "over its limit now: tokens_per_hour: 1300 of 1000 used\n"
            "\n"
            "used: CPU 1.250 s, memory 12.5 MiB (peak 14 MiB), tokens 1300, requests 4, cost "
            "0.25\n");
}

TEST(QuotaText, ShowsWhatIsAboveAndSinceWhen) {
  EXPECT_EQ(QuotaText(Read(R"({"scope":"agent","target_id":"a","state":"idle","causes":[],
      "policy":{"memory":{"mode":"hard","action":"terminate"},
                "tokens":{"mode":"soft_then_hard","action":"suspend"},
                "cost":{"mode":"warn_only","action":"suspend"}},
      "limits":{"cpu":"1","cpu_seconds_per_hour":"60"},
      "usage":{"cpu_seconds":2.5,"memory_mb":0,"memory_peak_mb":1,"tokens_consumed":7,
               "requests":0,"cost":0},
      "lifetime":{"cpu_seconds":3.5,"memory_mb":0,"memory_peak_mb":2,"tokens_consumed":8,
                  "requests":1,"cost":0.5},
      "windows":[{"limit":"cpu","amount":1,"used":2.5,"remaining":3597.5,"violated":false},
                 {"limit":"cpu_seconds_per_hour","amount":60,"used":2.5000001,
                  "remaining":57.4999999,"violated":false}],
      "above":[{"account":"tenant/acme","text":"1M","limit":"tokens_per_day","amount":1000000,
                "used":9,"remaining":999991,"violated":false}]})")),
            "agent a: idle\n"
            "\n"
            "LIMIT                          ALLOWED  USED     LEFT      RESETS\n"
            "cpu                            1 core   2.5 s    3597.5 s  -\n"
            "cpu_seconds_per_hour           60 s     2.500 s  57.499 s  -\n"
            "tokens_per_day of tenant/acme  1M       9        999991    -\n"
            "\n"
            "used: CPU 2.5 s, memory 0 B (peak 1 MiB), tokens 7, requests 0, cost 0\n"
            "lifetime: CPU 3.5 s, memory 0 B (peak 2 MiB), tokens 8, requests 1, cost 0.5\n"
            "at a limit: memory terminate, tokens suspend:soft_then_hard, cost warn\n");
}

TEST(QuotaText, SaysWhatIsOverItsLimitAndHoldsNothingBackYet) {
  const std::string text = QuotaText(Read(R"({"scope":"agent","target_id":"a","state":"running",
      "causes":[], "limits":{"tokens_per_hour":"1k","memory":"1Mi"}, "windows":[
      {"limit":"tokens_per_hour","amount":1000,"used":1300,"remaining":0,"violated":true},
      {"limit":"memory","amount":1048576,"used":2097152,"remaining":0,"violated":true}]})"));
  EXPECT_TRUE(text.ends_with(
      "\nover its limit now: tokens_per_hour: 1300 of 1000 used; not held back for it so far\n"
      "over its limit now: memory: 2 MiB of 1 MiB used; not held back for it so far\n"))
      << text;
}

TEST(QuotaText, ShowsAnAgentWithoutLimits) {
  EXPECT_EQ(QuotaText(Read(R"({"scope":"agent","target_id":"a","state":"running","limits":{}})")),
            "agent a: running\n\nno limits\n");
}

TEST(QuotaListText, HasARowForEach) {
  EXPECT_EQ(QuotaListText({Read(kSuspended)}),
            "AGENT  PID  CPU      MEMORY    TOKENS  STATE\n"
            "run-7  8    1.250 s  12.5 MiB  1300    suspended, throttled (tokens_per_hour, "
            "operator)\n");
}

// A later server may answer more, less, or otherwise: nothing here may crash.
TEST(QuotaText, SurvivesWhatItDoesNotExpect) {
  for (const char* text :
       {"null", "[]", "5", "{}", R"({"limits":5,"windows":{},"usage":[],"causes":"x"})",
        R"({"limits":{"memory":null},"windows":[5,{"limit":"memory","used":"x"}]})",
        R"({"usage":{"memory_mb":1e30,"cpu_seconds":"1"}})"}) {
    const wire::Json json = Read(text);
    EXPECT_FALSE(QuotaText(json).empty());
    EXPECT_FALSE(QuotaListText({json}).empty());
    EXPECT_FALSE(ReceiptText(json).empty());
  }
}

TEST(ReceiptText, SaysWhatRemainsAndWhatFollows) {
  EXPECT_EQ(ReceiptText(Read(R"({"recorded": {"tokens": 200, "cost": 0.5},
      "not_charged": ["cpu_seconds"], "replayed": false, "suspended": true, "throttled": true,
      "action_pending": true, "retry_after_seconds": 1.5,
      "limits": [{"limit": "tokens_per_hour", "amount": 1000, "used": 1300, "held": 0,
                  "remaining": 0, "violated": true, "reset_at": "2026-03-01T13:00:00Z"},
                 {"limit": "gpu_memory", "amount": 1073741824, "used": 536870912, "held": 0,
                  "remaining": 536870912, "violated": false, "reset_at": null}]})")),
            "recorded: tokens 200, cost 0.5\n"
            "not counted: cpu_seconds, mete measures it itself\n"
            "tokens_per_hour: 1300 of 1000 used, 0 left, resets at 2026-03-01T13:00:00Z\n"
            "gpu_memory: 512 MiB of 1 GiB used, 512 MiB left\n"
            "state: suspended\n"
            "state: throttled\n"
            "the next request fits in 1.5 s\n");
}

TEST(ReceiptText, SaysThatAKeyCountedBefore) {
  EXPECT_EQ(ReceiptText(Read(R"({"recorded": {"tokens": 200}, "replayed": true})")),
            "recorded: tokens 200 (by the first report with this key)\n");
  EXPECT_EQ(ReceiptText(Read(R"({"recorded": {}})")), "recorded: nothing\n");
}

}  // namespace
}  // namespace mete::cli
