// What `mete run` and `mete attach` share: the options of an agent, and running it to its end.
#pragma once

#include <span>

#include "agent/runner.h"
#include "cli/flags.h"

namespace mete::cli {

// Those of `run` but --user.
extern const std::span<const Flag> kAttachFlags;

// Limits, policies and the like; the program is still missing.
agent::RunConfig RunConfigOf(const Flags& flags);

// Runs it, writes the report where the options say, and returns the exit status.
int RunAgent(const Flags& flags, agent::RunConfig config);

}  // namespace mete::cli
