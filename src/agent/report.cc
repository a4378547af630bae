#include "agent/report.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "agent/kernel_limits.h"
#include "agent/responses.h"
#include "agent/spawn.h"
#include "agent/time_text.h"
#include "mete/units.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

constexpr int kEndedByMete = 124;
constexpr int kSignalBase = 128;

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  return name == nullptr ? fmt::format("signal {}", number) : fmt::format("SIG{}", name);
}

// To the millisecond, as people read it.
std::string Seconds(Duration span) {
  return FormatNanoDecimal(std::chrono::round<std::chrono::milliseconds>(span).count() * 1'000'000);
}

Outcome OutcomeOfEnd(const EndCause& ended, const AgentConfig& config) {
  const std::string text = "ended by mete: " + EndText(config, ended);
  switch (ended.kind) {
    case EndCause::kLimit: return {"limit", kEndedByMete, ended.limit, text};
    case EndCause::kMaxSuspend: return {"max_suspend", kEndedByMete, std::nullopt, text};
    case EndCause::kOperator: return {"operator", kSignalBase + SIGTERM, std::nullopt, text};
    case EndCause::kEscape: return {"escape", kEndedByMete, std::nullopt, text};
    case EndCause::kSignal: return {"interrupted", kSignalBase + ended.signal, std::nullopt, text};
  }
  return {};
}

std::string ActionsText(const Violation& violation, Time started) {
  std::string text;
  for (const ActionTaken& action : violation.actions) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} at {} s", action.what, Seconds(action.time - started));
  }
  return text.empty() ? "nothing done" : text;
}

}  // namespace

Outcome OutcomeOf(const std::optional<EndCause>& ended, const std::optional<LeaderEnd>& leader,
                  int exec_errno, const AgentConfig& config) {
  if (exec_errno != 0) {
    return {"not_started", ExitStatusOfExecError(exec_errno), std::nullopt,
            std::string("cannot start: ") + std::strerror(exec_errno)};
  }
  if (ended) return OutcomeOfEnd(*ended, config);
  if (!leader) return {"lost", 125, std::nullopt, "the end of the program was not seen"};
  if (!leader->known) return {"unknown", 0, std::nullopt, "ended; its exit status is not known"};
  if (leader->signaled) {
    return {"signal", kSignalBase + leader->number, std::nullopt,
            "killed by " + SignalName(leader->number)};
  }
  return {"exited", leader->number, std::nullopt, fmt::format("exited with {}", leader->number)};
}

namespace {

std::vector<LimitLine> LimitsAbove(Account& account) {
  std::vector<LimitLine> lines;
  // Nobody keeps the account any more: then it is not known.
  for (const ResourceQuota& above : account.Above().value_or(std::vector<ResourceQuota>{})) {
    for (const LimitUsage& usage : above.windows) {
      if (usage.limit.amount == kUnlimited) continue;
      LimitLine line{
          above.target, InfoOf(usage.kind).name, usage.limit.text, usage.used, usage.kind, {}};
      if (usage.kind == LimitKind::kCpu) line.used.reset();  // a rate, which the kernel holds
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

}  // namespace

RunReport MakeReport(Agent& agent, const Capabilities& host,
                     const std::vector<std::string>& command, Outcome outcome) {
  const ResourceUsage totals = agent.totals();
  RunReport report;
  report.agent = agent.id();
  report.ledger = agent.account().ledger();
  report.command = command;
  report.started = agent.started();
  report.started_at = TimeText(agent.started(), agent.clock());
  report.wall = agent.clock().Now() - agent.started();
  report.cpu_ns = agent.sample().cpu_ns;
  report.memory_peak_bytes = agent.sample().memory_peak_bytes;
  report.tokens = totals.tokens_consumed;
  report.requests = totals.requests;
  report.cost_nano = totals.cost_nano;
  report.violations = agent.history().violations();
  report.violations_dropped = agent.history().dropped();
  report.unwritten = agent.history().unwritten();
  report.above = LimitsAbove(agent.account());
  report.outcome = std::move(outcome);

  const AgentConfig& config = agent.config();
  const ResourceQuota quota = agent.quota();
  for (std::size_t i = 0; i < kLimitKindCount; ++i) {
    const std::optional<Limit>& limit = quota.limits.entries[i];
    if (!limit || limit->amount == kUnlimited) continue;
    const auto kind = static_cast<LimitKind>(i);
    const LimitInfo& info = InfoOf(kind);
    const Policy& policy = config.policies[static_cast<std::size_t>(info.resource)];
    LimitLine line{{}, info.name, limit->text, std::nullopt, kind, GradeOf(kind, policy, host)};
    if (kind == LimitKind::kMemory) line.used = report.memory_peak_bytes;
    for (const LimitUsage& usage : quota.windows) {
      if (usage.kind == kind && kind != LimitKind::kMemory) line.used = usage.used;
    }
    report.limits.push_back(std::move(line));
  }
  // The default is the kernel's to hold; what only the program would heed is set when asked for.
  GradeInfo pids = host.pids;
  if (pids.grade == Grade::kAdvisory && !config.pids_asked)
    pids = {Grade::kAbsent, "not asked for"};
  report.limits.push_back(
      {{}, "pids", std::to_string(config.pids_max), std::nullopt, std::nullopt, std::move(pids)});
  return report;
}

std::string ReportText(const RunReport& report) {
  std::string text =
      "mete: ledger: " +
      (report.ledger == kMemoryLedger ? "in memory, gone with this run" : report.ledger) + "\n";
  const auto row = [&text](std::string_view name, std::string_view value) {
    text += fmt::format("  {:<12}{}\n", name, value);
  };
  row("agent", report.agent);
  row("result", fmt::format("{}; exit status {}", report.outcome.text, report.outcome.status));
  row("wall time", Seconds(report.wall) + " s");
  const double wall = std::max(std::chrono::duration<double>(report.wall).count(), 1e-9);
  row("cpu time", fmt::format("{} s ({:.2f} cores)", Seconds(Duration(report.cpu_ns)),
                              static_cast<double>(report.cpu_ns) / 1e9 / wall));
  row("memory peak", FormatBytes(report.memory_peak_bytes));
  row("tokens", std::to_string(report.tokens));
  if (report.requests > 0) row("requests", std::to_string(report.requests));
  if (report.cost_nano > 0) row("cost", FormatNanoDecimal(report.cost_nano));
  std::string_view title = "limits";
  for (const LimitLine& limit : report.limits) {
    std::string used;
    if (limit.used && limit.kind) {
      used = fmt::format("used {}, ", AmountText(*limit.kind, *limit.used));
    }
    row(title, fmt::format("{} {}: {}{} ({})", limit.name, limit.text, used,
                           NameOf(limit.grade.grade), limit.grade.how));
    title = "";
  }
  title = "above";
  for (const LimitLine& limit : report.above) {
    const std::string used = limit.used ? ": used " + AmountText(*limit.kind, *limit.used) : "";
    row(title, fmt::format("{}: {} {}{}", limit.account->ToString(), limit.name, limit.text, used));
    title = "";
  }
  title = "violations";
  for (const Violation& violation : report.violations) {
    row(title, fmt::format("{} at {} s: {}: {}", InfoOf(violation.limit).name,
                           Seconds(violation.time - report.started),
                           UsedOfText(violation.limit, violation.used, violation.amount),
                           ActionsText(violation, report.started)));
    title = "";
  }
  if (report.violations.empty()) row(title, "none");
  if (report.violations_dropped > 0) {
    row("", fmt::format("and {} more", report.violations_dropped));
  }
  return text;
}

namespace {

void WriteAmount(wire::JsonWriter& json, std::string_view name, LimitKind kind,
                 std::int64_t amount) {
  InfoOf(kind).unit == Unit::kNano ? json.FieldNano(name, amount) : json.Field(name, amount);
}

void WriteExit(wire::JsonWriter& json, const Outcome& outcome) {
  json.Key("exit").BeginObject().Field("reason", outcome.reason);
  json.Field("status", std::int64_t{outcome.status}).Field("text", outcome.text).Key("limit");
  outcome.limit ? json.String(InfoOf(*outcome.limit).name) : json.Null();
  json.EndObject();
}

void WriteLimits(wire::JsonWriter& json, const RunReport& report) {
  json.Key("limits").BeginArray();
  for (const LimitLine& limit : report.limits) {
    json.BeginObject().Field("limit", limit.name).Field("text", limit.text);
    if (limit.used && limit.kind) WriteAmount(json, "used", *limit.kind, *limit.used);
    json.Field("grade", NameOf(limit.grade.grade)).Field("how", limit.grade.how).EndObject();
  }
  json.EndArray().Key("above").BeginArray();
  for (const LimitLine& limit : report.above) {
    json.BeginObject().Field("account", PathOf(*limit.account));
    json.Field("limit", limit.name).Field("text", limit.text);
    if (limit.used) WriteAmount(json, "used", *limit.kind, *limit.used);
    json.EndObject();
  }
  json.EndArray();
}

void WriteViolations(wire::JsonWriter& json, const RunReport& report) {
  json.Key("violations").BeginArray();
  for (const Violation& violation : report.violations) {
    json.BeginObject().Field("limit", InfoOf(violation.limit).name);
    WriteAmount(json, "amount", violation.limit, violation.amount);
    WriteAmount(json, "used", violation.limit, violation.used);
    json.FieldNano("at_seconds", (violation.time - report.started).count());
    json.Key("actions").BeginArray();
    for (const ActionTaken& action : violation.actions) {
      json.BeginObject().Field("action", action.what);
      json.FieldNano("at_seconds", (action.time - report.started).count()).EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Field("violations_dropped", report.violations_dropped);
}

}  // namespace

std::string ReportJson(const RunReport& report) {
  wire::JsonWriter json;
  json.BeginObject().Field("ledger", report.ledger);
  if (report.ledger != kMemoryLedger) json.FieldBool("durable", !report.unwritten);
  json.Field("agent", report.agent);
  json.Key("command").BeginArray();
  for (const std::string& word : report.command) json.String(word);
  json.EndArray().Field("started_at", report.started_at);
  json.FieldNano("wall_seconds", report.wall.count()).FieldNano("cpu_seconds", report.cpu_ns);
  json.Field("memory_peak_bytes", report.memory_peak_bytes);
  json.FieldNano("memory_peak_mb", MebiNano(report.memory_peak_bytes));
  json.Field("tokens", report.tokens).Field("requests", report.requests);
  json.FieldNano("cost", report.cost_nano);
  WriteExit(json, report.outcome);
  WriteLimits(json, report);
  WriteViolations(json, report);
  return json.EndObject().Take() + "\n";
}

}  // namespace mete::agent
