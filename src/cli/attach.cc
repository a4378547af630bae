// `mete attach`: a program that runs already, on a budget.
#include <limits>

#include "base/quote.h"
#include "cli/command.h"
#include "cli/run.h"
#include "cli/values.h"

namespace mete::cli {

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

}  // namespace mete::cli
