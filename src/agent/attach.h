// Taking a program that runs already, with all that it started, into the group of an agent.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/host.h"
#include "agent/process.h"
#include "mete/error.h"

namespace mete::agent {

// E2070: no such process. E2071: the caller itself, or what started it, or a thread of the kernel.
// E2080: an agent already, or in one.
Result<ProcessId> CheckAttachable(Host& host, pid_t pid);

// Moves one process. False: it has ended, which the kernel shows like being outside, and moved
// nobody. E2078: another user's.
Result<bool> MoveIn(Group& group, pid_t pid);

// Moves the process and its descendants, again and again until two rounds in a row find nobody
// outside: what is inside starts its children inside, so that only who was outside in one round can
// have started someone who is in the next. Returns how many were moved. E2070: it ended meanwhile.
// E2078: another user's. kSystem: it starts processes faster than they can be moved.
Result<std::size_t> AdoptTree(Group& group, pid_t root);

// Its command line, as far as it shows one.
std::vector<std::string> CommandOf(pid_t pid);

}  // namespace mete::agent
