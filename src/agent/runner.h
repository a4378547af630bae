// `mete run`: starts a program as an agent, holds it to its budget, reports.
//
// One thread. The order: guardian, group, account, sockets, program, loop until the main process
// ends; then everything that is left of it is killed, the final reading taken, the group removed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/identity.h"
#include "agent/report.h"
#include "mete/error.h"

namespace mete::agent {

struct RunConfig {
  AgentConfig agent;  // an empty id: "run-PID"
  // A stored account in place of a new one in memory. Looks at it, and makes the limits, policies
  // and place of the agent as they will be, but changes nothing: that does what it returns, called
  // when nothing is left to be refused. The guardian is there by then, so both may start threads.
  using OpenAccount = std::function<Result<std::unique_ptr<Account>>()>;
  std::function<Result<OpenAccount>(AgentConfig&)> find_account;
  std::vector<char*> argv;                          // ends with a nullptr
  std::optional<pid_t> attach = std::nullopt;       // in place of argv: a program that runs already
  std::optional<Identity> identity = std::nullopt;  // as whom; unset: as the caller
  bool best_effort = false;  // run although the machine holds a limit badly or not at all
  bool quiet = false;
};

// Runs to the end, of the program or of the one that it is attached to. An error means that mete
// itself failed; whatever was started is ended. E2078: called from inside an agent. REQUIRES: one
// thread, no children.
Result<RunReport> Run(Host& host, const Clock& clock, RunConfig config);

// E2078 inside an agent: by its environment, or by the group that holds this process.
Result<void> CheckNotNested(Host& host);

// E2071 names the first limit that this machine holds badly or not at all, and why.
Result<void> CheckGrades(const AgentConfig& config, const Capabilities& host);

}  // namespace mete::agent
