// `mete run --state-dir D`: the stored account that an agent runs on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/account.h"
#include "agent/runner.h"
#include "mete/resource_manager.h"

namespace mete::cli {

struct RunState {
  std::string folder;
  std::string session, tenant;  // what the agent is below; empty: as it is stored, or nothing
  Durability durability = Durability::kBounded;  // where this run becomes the owner of the folder
  // The option that asks for a policy, like "on-memory"; empty: none was given.
  std::string policy_option;
};

// For agent::RunConfig::find_account. An agent that is not there is created, with the limits and
// policies of the configuration and no others, below its session and tenant, which are created too.
// Of one that is there the limits in the configuration are changed. Before any of that, E2071: it
// is below another session or tenant, or has other policies than were asked for; E2080: it runs.
// `clock` outlives what is opened.
std::function<Result<agent::RunConfig::OpenAccount>(agent::AgentConfig&)> FindStored(
    RunState state, const Clock& clock);

}  // namespace mete::cli
