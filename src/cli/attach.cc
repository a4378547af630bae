// `mete attach`: a program that runs already, on a budget.
#include <limits>

#include "base/quote.h"
#include "cli/command.h"
#include "cli/run.h"
#include "cli/values.h"

namespace mete::cli {
namespace {

int AttachCommand(const Flags& flags) {
  const std::string_view text = flags.operands()[0];
  const Result<std::int64_t> pid = ParseCount(text);
  if (!pid || *pid < 1 || *pid > std::numeric_limits<pid_t>::max()) {
    return PrintError(
        {ErrorCode::kInvalidArgument, "PID must be the number of a process, given " + Quoted(text)},
        kExitRunFailed);
  }
  agent::RunConfig config = RunConfigOf(flags);
  config.attach = static_cast<pid_t>(*pid);
  return RunAgent(flags, std::move(config));
}

}  // namespace

extern constinit const Command kAttachCommand = {
    .name = "attach",
    .operands = "PID",
    .summary = "Put a running program on a budget, with all that it started",
    .details =
        "As `mete run` from then on: what is left when PID ends is ended too, and so is PID when\n"
        "mete is. Memory that it has stays where it is charged. Exit status: that of PID where "
        "the\n"
        "kernel tells it, else 0; 124, 125 and 128+n as with `mete run`.\n",
    .flags = kAttachFlags,
    .min_operands = 1,
    .max_operands = 1,
    .usage_status = kExitRunFailed,
    .main = AttachCommand,
};

}  // namespace mete::cli
