// Finds out by trying how well a host holds its limits: for `mete doctor`.
#pragma once

#include "agent/host.h"

namespace mete::cgroup {

// Starts from host.Look() and tries what that promises, each on a group of its own with one or a
// few small children. What does not hold becomes absent, and `how` says what was seen instead; that
// a machine is slow refutes nothing, so each trial has 2 s. So what a run finds by Look() alone is
// what it is graded here, unless the kernel does not do what it says.
// Cost: about 0.4 s of waiting. Forks: not for a program whose threads hold locks that a fork must
// not copy.
agent::Capabilities ProbeHost(agent::Host& host);

}  // namespace mete::cgroup
