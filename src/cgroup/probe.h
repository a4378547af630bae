// Finds out by trying how well a host holds its limits: for `mete doctor`.
#pragma once

#include "agent/host.h"

namespace mete::cgroup {

// Starts from host.Look() and tries what that promises, each on a group of its own with one or a
// few small children. What does not hold becomes absent, and `how` says what was seen instead.
// Cost: about 0.4 s of waiting; at most 2 s. Forks: not for a program whose threads hold locks that
// a fork must not copy.
agent::Capabilities ProbeHost(agent::Host& host);

}  // namespace mete::cgroup
