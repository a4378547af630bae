#include "cli/command.h"
#include "cli/values.h"

namespace mete::cli {
namespace {

constexpr Flag kFlags[] = {
    {"cpu", "CORES", "CPU time per second, like 500m or 2", CheckLimit},
    {"memory", "BYTES", "memory, like 256Mi or 2Gi", CheckLimit},
    {"tokens-per-hour", "N", "tokens in an hour, like 20000", CheckLimit},
    {"tokens-per-day", "N", "tokens in a day", CheckLimit},
    {"requests-per-minute", "N", "requests in a minute", CheckLimit},
    {"cost-per-day", "MONEY", "cost in a day, like 2.50", CheckLimit},
    {"cpu-seconds-per-hour", "S", "CPU seconds in an hour", CheckLimit},
    {"max-suspend", "DURATION", "end the agent when it was suspended that long", CheckDuration},
    {"on-memory", "terminate|suspend", "what a memory breach does", CheckChoice},
    {"best-effort", "", "accept limits that this machine cannot hold"},
    {"json", "", "print the report as a JSON object"},
};

}  // namespace

int RunCommand(const Flags&) {
  return PrintError({ErrorCode::kSystem, "run: not built into this program"}, kExitRunFailed);
}

extern constinit const Command kRunCommand = {
    .name = "run",
    .operands = "[--] COMMAND [ARGUMENT...]",
    .summary = "Run a program on a budget",
    .details = {},
    .flags = kFlags,
    .min_operands = 1,
    .max_operands = kAnyNumber,
    .end_at_operand = true,
    .usage_status = kExitRunFailed,
    .main = RunCommand,
};

}  // namespace mete::cli
