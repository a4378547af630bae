#include "agent/report.h"

#include <gtest/gtest.h>

#include <csignal>

#include "agent/test_agent.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

TEST(OutcomeOf, FollowsTheTable) {
  AgentConfig config = TestConfig({{LimitKind::kMemory, "64Mi"}});
  config.max_suspend = std::chrono::seconds(2);
  struct Row {
    std::optional<EndCause> ended;
    std::optional<LeaderEnd> leader;
    int exec_errno;
    int status;
    const char* reason;
    const char* says;
  };
  const LeaderEnd zero{false, 0}, three{false, 3}, killed{true, SIGKILL}, term{true, SIGTERM};
  const EndCause limit{EndCause::kLimit, LimitKind::kMemory};
  const EndCause suspend{EndCause::kMaxSuspend, std::nullopt};
  const EndCause by_operator{EndCause::kOperator, std::nullopt};
  const EndCause interrupt{EndCause::kSignal, std::nullopt, SIGINT};
  const Row rows[] = {
      {{}, zero, 0, 0, "exited", "exited with 0"},
      {{}, three, 0, 3, "exited", "exited with 3"},
      {{}, killed, 0, 137, "signal", "SIGKILL"},
      {{}, term, 0, 143, "signal", "SIGTERM"},
      {{}, LeaderEnd{true, SIGRTMIN + 1}, 0, 128 + SIGRTMIN + 1, "signal", "signal"},
      {limit, killed, 0, 124, "limit", "memory = 64Mi"},
      {limit, zero, 0, 124, "limit", "memory"},
      {suspend, term, 0, 124, "max_suspend", "suspended for 2s"},
      {by_operator, zero, 0, 143, "operator", "operator"},
      {interrupt, term, 0, 130, "interrupted", "SIGINT"},
      {{}, {}, ENOENT, 127, "not_started", "No such file"},
      {{}, {}, EACCES, 126, "not_started", "Permission"},
      {{}, {}, ENOEXEC, 126, "not_started", "Exec format"},
  };
  for (const Row& row : rows) {
    const Outcome outcome = OutcomeOf(row.ended, row.leader, row.exec_errno, config);
    EXPECT_EQ(outcome.status, row.status) << row.reason;
    EXPECT_EQ(outcome.reason, row.reason);
    EXPECT_NE(outcome.text.find(row.says), std::string::npos) << outcome.text;
  }
}

RunReport Example() {
  AgentConfig config =
      TestConfig({{LimitKind::kTokensPerHour, "1k"}, {LimitKind::kMemory, "64Mi"}});
  config.id = "run-7";
  TestAgent agent(config);
  agent.Tokens(1100);
  agent.clock.Advance(std::chrono::milliseconds(250));
  agent.Tokens(200);
  agent.meters.cpu_ns = 125'000'000;
  agent.meters.memory_bytes = 3 << 20;
  agent.clock.Advance(std::chrono::milliseconds(250));
  EXPECT_TRUE(agent->Finish());
  return MakeReport(*agent, agent.host.capabilities, {"python3", "a b.py"},
                    OutcomeOf({}, LeaderEnd{false, 3}, 0, agent->config()));
}

TEST(ReportText, SaysFirstWhichLedgerWasUsed) {
  const std::string text = ReportText(Example());
  EXPECT_TRUE(text.starts_with("mete: ledger: in memory, gone with this run\n")) << text;
  for (const char* line :
       {"  agent       run-7\n", "  result      exited with 3; exit status 3\n",
        "  wall time   0.5 s\n", "  cpu time    0.125 s (0.25 cores)\n", "  memory peak 3 MiB\n",
        "  tokens      1300\n", "tokens_per_hour 1k: used 1300, reported",
        "memory 64Mi: used 3 MiB, kernel", "pids 4096: kernel",
        "  violations  tokens_per_hour at 0 s: 1100 of 1000 used: warned at 0 s, suspended at "
        "0.25 s\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nin\n" << text;
  }
}

TEST(ReportText, NamesRequestsAndCostWhereThereAreAny) {
  RunReport report;
  EXPECT_EQ(ReportText(report).find("requests"), std::string::npos);
  EXPECT_EQ(ReportText(report).find("cost"), std::string::npos);
  report.requests = 3;
  report.cost_nano = 250'000'000;
  EXPECT_NE(ReportText(report).find("  requests    3\n"), std::string::npos);
  EXPECT_NE(ReportText(report).find("  cost        0.25\n"), std::string::npos);
}

TEST(ReportText, SaysThatNothingWasViolated) {
  RunReport report;
  EXPECT_NE(ReportText(report).find("  violations  none\n"), std::string::npos);
}

TEST(ReportJson, HasEveryFigure) {
  const std::string text = ReportJson(Example());
  const auto json = wire::ParseJson(text);
  ASSERT_TRUE(json) << text;
  const auto number = [&](const char* name) { return json->Find(name)->AsNumber()->text; };
  EXPECT_EQ(*json->Find("ledger")->AsString(), "memory");
  EXPECT_EQ(*json->Find("agent")->AsString(), "run-7");
  EXPECT_EQ(*json->Find("command")->AsArray()->at(1).AsString(), "a b.py");
  EXPECT_EQ(*json->Find("started_at")->AsString(), "2026-03-01T13:00:00Z");
  EXPECT_EQ(number("wall_seconds"), "0.5");
  EXPECT_EQ(number("cpu_seconds"), "0.125");
  EXPECT_EQ(number("memory_peak_bytes"), "3145728");
  EXPECT_EQ(number("memory_peak_mb"), "3");
  EXPECT_EQ(number("tokens"), "1300");
  EXPECT_EQ(number("requests"), "0");
  EXPECT_EQ(number("cost"), "0");
  const wire::Json& exit = *json->Find("exit");
  EXPECT_EQ(*exit.Find("reason")->AsString(), "exited");
  EXPECT_EQ(exit.Find("status")->AsNumber()->text, "3");
  EXPECT_TRUE(exit.Find("limit")->IsNull());
  EXPECT_EQ(json->Find("limits")->AsArray()->size(), 3u);
  const wire::Json& violation = json->Find("violations")->AsArray()->at(0);
  EXPECT_EQ(*violation.Find("limit")->AsString(), "tokens_per_hour");
  EXPECT_EQ(violation.Find("used")->AsNumber()->text, "1100");
  EXPECT_EQ(violation.Find("actions")->AsArray()->size(), 2u);
  EXPECT_EQ(*violation.Find("actions")->AsArray()->at(1).Find("action")->AsString(), "suspended");
}

}  // namespace
}  // namespace mete::agent
