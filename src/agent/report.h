// What a run says at its end, as a table for people and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/agent.h"
#include "agent/host.h"
#include "mete/clock.h"

namespace mete::agent {

// How the main process ended.
struct LeaderEnd {
  bool signaled = false;
  int number = 0;     // exit status, or signal
  bool known = true;  // false: the kernel does not tell how one ended that is no child
};

// Why the run ended, and the exit status of `mete run` for it.
struct Outcome {
  std::string_view reason;  // "exited", "signal", "not_started", "limit", "max_suspend",
                            // "operator", "escape", "interrupted", "unknown"
  int status = 0;
  std::optional<LimitKind> limit;
  std::string text;  // one line
};

// What mete did goes before what the program did about it. 124 for a limit, --max-suspend or an
// escape; 143 for an operator's terminate and 128+n for a signal, as if it had died of it; 126, 127
// as env(1).
Outcome OutcomeOf(const std::optional<EndCause>& ended, const std::optional<LeaderEnd>& leader,
                  int exec_errno, const AgentConfig& config);

struct LimitLine {
  std::optional<TargetName> account;  // where it is not the agent's own
  std::string_view name;
  std::string text;  // as entered
  std::optional<std::int64_t> used;
  std::optional<LimitKind> kind;  // none: pids
  GradeInfo grade;
};

struct RunReport {
  std::string ledger = "memory";  // or the folder of the state
  std::string agent;
  std::vector<std::string> command;
  Time started;
  std::string started_at;  // RFC 3339
  Duration wall{};
  std::int64_t cpu_ns = 0;
  std::int64_t memory_peak_bytes = 0;
  std::int64_t tokens = 0;
  std::int64_t requests = 0;
  std::int64_t cost_nano = 0;
  std::vector<LimitLine> limits;
  std::vector<LimitLine> above;  // those of its session and tenant, without a grade
  std::vector<Violation> violations;
  std::int64_t violations_dropped = 0;
  std::optional<Error> unwritten;  // why the account is not on disk as it is
  Outcome outcome;
};

RunReport MakeReport(Agent& agent, const Capabilities& host,
                     const std::vector<std::string>& command, Outcome outcome);

std::string ReportText(const RunReport& report);
std::string ReportJson(const RunReport& report);

}  // namespace mete::agent
