// What `mete gc` finds, does and prints; apart from the command so that tests reach it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/adopt.h"

namespace mete::cli {

struct GcEntry {
  agent::FoundAgent found;  // with the counters of now, where there is a group
  agent::Decision decision = agent::Decision::kLeave;
  bool had_group = false, frozen = false;  // when it was found
  std::optional<int> exit_status;          // of the main process, where the kernel tells
  std::optional<Error> error;              // it could not be done
};

// Finds every agent, and settles those that nobody has, unless it is only to tell. `shared`: as for
// agent::FindAgents.
Result<std::vector<GcEntry>> CollectGarbage(agent::Host& host, const std::string& dir,
                                            const Clock& clock, bool dry_run,
                                            const std::string& shared = {});

std::string GcText(const std::vector<GcEntry>& entries, const Clock& clock, bool dry_run);
std::string GcJson(const std::vector<GcEntry>& entries, bool dry_run);

}  // namespace mete::cli
