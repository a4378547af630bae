// `mete run`: a program on a budget.
#include "cli/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "agent/report.h"
#include "agent/runner.h"
#include "base/quote.h"
#include "base/unique_fd.h"
#include "cli/command.h"
#include "cli/ledger.h"
#include "cli/limit_flags.h"
#include "cli/run_state.h"
#include "cli/values.h"
#include "mete/units.h"

namespace mete::cli {
namespace {

// More than any machine has, and less than the kernel's own bound on process numbers.
constexpr std::int64_t kMostPids = 4'000'000;

Result<void> CheckPids(const Flag&, std::string_view value) {
  Result<std::int64_t> count = ParseCount(value);
  if (count && *count >= 1 && *count <= kMostPids) return {};
  return Fail(ErrorCode::kInvalidArgument, "must be a whole number from 1 to 4000000");
}

Result<void> CheckUser(const Flag&, std::string_view value) {
  if (Result<agent::Identity> identity = agent::FindIdentity(value); !identity) {
    return std::unexpected(identity.error());
  }
  return {};
}

constexpr std::array<Flag, 13> kAccountFlags = {{
    {"cpu", "CORES", "CPU time per second, like 500m or 2; the kernel holds it", CheckKernelLimit},
    {"memory", "BYTES", "memory, like 256Mi or 2Gi; the kernel holds it", CheckKernelLimit},
    {"pids", "N", "processes and threads at once (default 4096)", CheckPids},
    {"cpu-seconds-per-hour", "S", "CPU seconds in an hour", CheckLimit},
    {"tokens-per-hour", "N", "tokens in an hour, like 20000", CheckLimit},
    {"tokens-per-day", "N", "tokens in a day", CheckLimit},
    {"requests-per-minute", "N", "requests in a minute", CheckLimit},
    {"cost-per-day", "MONEY", "cost in a day, like 2.50", CheckLimit},
    {"agent", "ID", "what `mete quota` and the others call it (default run-PID)", CheckId, false,
     "id name"},
    {"state-dir", "DIR", "keep the agent's account in this folder, over runs and restarts"},
    {"session", "ID", "with --state-dir: the session that the agent is below", CheckId},
    {"tenant", "ID", "with --state-dir: the tenant that it, or its session, is below", CheckId},
    {"durability", "bounded|sync|none",
     "with --state-dir: when a report is answered (default bounded); docs/durability.md",
     CheckChoice},
}};

constexpr std::array<Flag, 7> kRunFlags = {{
    {"max-suspend", "DURATION", "end the agent, with 124, when it was suspended that long",
     CheckDuration},
    {"grace", "DURATION", "between SIGTERM and the kill (default 5s)", CheckDuration},
    {"best-effort", "", "run although this machine cannot hold a limit"},
    {"json", "", "write the report as a JSON object"},
    {"report", "FILE", "write the report to this file instead of standard error"},
    {"quiet", "", "print only errors, and what --json or --report ask for"},
    // The last one is of `run` alone: what runs already is somebody.
    {"user", "NAME|UID[:GROUP]", "run the program as this user, without the caller's powers",
     CheckUser},
}};

constexpr auto kFlags = Joined(kAccountFlags, kPolicyFlags, kRunFlags);

}  // namespace

// The flags were checked when they were parsed.
agent::RunConfig RunConfigOf(const Flags& flags) {
  agent::RunConfig run;
  agent::AgentConfig& config = run.agent;
  for (const Flag& flag : kFlags) {
    const std::optional<LimitKind> kind = FindLimit(flag.name);
    if (!kind) continue;
    if (auto text = flags.Get(flag.name)) config.limits[*kind] = *ParseLimit(*kind, *text);
  }
  config.policies = PoliciesOf(flags);
  if (auto id = flags.Get("agent")) config.id = *id;
  if (auto pids = flags.Get("pids")) config.pids_max = *ParseCount(*pids), config.pids_asked = true;
  if (auto span = flags.Get("max-suspend")) config.max_suspend = *ParseDuration(*span);
  if (auto span = flags.Get("grace")) config.grace = *ParseDuration(*span);
  config.cores = std::thread::hardware_concurrency();
  run.best_effort = flags.Has("best-effort");
  run.quiet = flags.Has("quiet");
  return run;
}

namespace {

// What the account of the run is kept in, if it is not new and in memory.
Result<std::optional<RunState>> StateOf(const Flags& flags) {
  // Of one that has a name, the environment says it too, as for every command.
  const std::string folder = flags.Has("state-dir") || flags.Has("agent") ? StateDir(flags) : "";
  if (folder.empty() && !flags.Has("state-dir")) {
    for (const char* name : {"session", "tenant", "durability"}) {
      if (!flags.Has(name)) continue;
      return Fail(ErrorCode::kInvalidArgument,
                  "--" + std::string(name) + ": allowed: with --state-dir");
    }
    return std::nullopt;
  }
  if (!flags.Has("agent")) {
    return Fail(ErrorCode::kInvalidArgument, "--state-dir: allowed: with --agent, the account");
  }
  RunState state;
  state.folder = folder;
  state.session = flags.Get("session").value_or("");
  state.tenant = flags.Get("tenant").value_or("");
  state.durability = *FindDurability(flags.Get("durability").value_or("bounded"));
  for (const Flag& flag : kPolicyFlags) {
    if (flags.Has(flag.name)) state.policy_option = flag.name;
  }
  return state;
}

Result<UniqueFd> OpenReportFile(std::string_view path) {
  UniqueFd file(
      open(std::string(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666));
  if (file) return file;
  return Fail(ErrorCode::kInvalidArgument,
              "--report: " + Quoted(path) +
                  ": allowed: a file that can be written: " + std::strerror(errno));
}

Result<void> WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return Fail(ErrorCode::kSystem, std::strerror(errno));
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

int RunAgent(const Flags& flags, agent::RunConfig config) {
  // Before the program runs: a report that has nowhere to go is found out in time.
  UniqueFd file;
  if (auto path = flags.Get("report")) {
    Result<UniqueFd> opened = OpenReportFile(*path);
    if (!opened) return PrintError(opened.error(), kExitRunFailed);
    file = *std::move(opened);
  }
  const bool json = flags.Has("json");
  const bool wanted = json || file || !config.quiet;

  const SystemClock clock;
  Result<std::optional<RunState>> state = StateOf(flags);
  if (!state) return PrintError(state.error(), kExitRunFailed);
  if (*state) config.find_account = FindStored(**std::move(state), clock);
  std::unique_ptr<agent::Host> host = agent::OpenHost();
  Result<agent::RunReport> report = agent::Run(*host, clock, std::move(config));
  if (!report) return PrintError(report.error(), kExitRunFailed);
  if (report->outcome.reason == "not_started") {
    std::fprintf(stderr, "mete: run: %s: %s\n", Quoted(report->command.front()).c_str(),
                 report->outcome.text.c_str());
    if (!json && !file) return report->outcome.status;
  }
  if (report->unwritten) {
    PrintError({report->unwritten->code,
                "the account of this run is not on disk as it is: " + report->unwritten->message});
  }
  if (!wanted) return report->outcome.status;
  const std::string text = json ? ReportJson(*report) : ReportText(*report);
  const Result<void> written = WriteAll(file ? file.get() : STDERR_FILENO, text);
  if (written || !file) return report->outcome.status;
  PrintError({written.error().code,
              "--report: " + Quoted(*flags.Get("report")) +
                  " cannot be written, the report follows here: " + written.error().message});
  [[maybe_unused]] const Result<void> shown = WriteAll(STDERR_FILENO, text);
  return kExitRunFailed;
}

int RunCommand(const Flags& flags) {
  agent::RunConfig config = RunConfigOf(flags);
  config.argv = flags.OperandArgv();
  if (auto user = flags.Get("user")) {
    if (geteuid() != 0) {
      return PrintError({ErrorCode::kNotPermitted,
                         "--user: only root may run a program as another "
                         "user, given: " +
                             Quoted(*user)},
                        kExitRunFailed);
    }
    config.identity = *agent::FindIdentity(*user);
  }
  return RunAgent(flags, std::move(config));
}

extern constinit const Command kRunCommand = {
    .name = "run",
    .operands = "[--] COMMAND [ARGUMENT...]",
    .summary = "Run a program on a budget",
    .details =
        "Exit status: the program's own; 124 when mete ended it for a limit or --max-suspend; 125\n"
        "when mete itself failed; 126 and 127 when the program cannot be run or found; 128+n for\n"
        "signal n. docs/run.md has the rest.\n",
    .flags = kFlags,
    .min_operands = 1,
    .max_operands = kAnyNumber,
    .end_at_operand = true,
    .usage_status = kExitRunFailed,
    .main = RunCommand,
};

extern constinit const Command kAttachCommand = {
    .name = "attach",
    .operands = "PID",
    .summary = "Put a running program on a budget, with all that it started",
    .details =
        "As `mete run` from then on: what is left when PID ends is ended too, and so is PID when\n"
        "mete is. Memory that it has stays where it is charged. Exit status: that of PID where "
        "the\n"
        "kernel tells it, else 0; 124, 125 and 128+n as with `mete run`.\n",
    .flags = std::span(kFlags).first(std::size(kFlags) - 1),
    .min_operands = 1,
    .max_operands = 1,
    .usage_status = kExitRunFailed,
    .main = AttachCommand,
};

}  // namespace mete::cli
