// What `mete run` and `mete attach` share: the options of an agent, and running it to its end.
#pragma once

#include "agent/runner.h"
#include "cli/flags.h"

namespace mete::cli {

// Limits, policies and the like; the program is still missing.
agent::RunConfig RunConfigOf(const Flags& flags);

// Runs it, writes the report where the options say, and returns the exit status.
int RunAgent(const Flags& flags, agent::RunConfig config);

// attach.cc; its row stands beside that of `run`, whose options it has, but for --user.
int AttachCommand(const Flags& flags);

}  // namespace mete::cli
