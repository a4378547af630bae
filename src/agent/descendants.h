// The processes that a process started, and those that they started.
#pragma once

#include <sys/types.h>

#include <vector>

namespace mete::agent {

// Without `root` itself, nor `except` and what it started. Dead ones that nobody has waited for are
// among them. A process that is started or orphaned meanwhile may be missed: who must not miss any
// looks again until nothing is new. Cost: a few microseconds for each process and thread; where the
// kernel does not list children (CONFIG_PROC_CHILDREN), one look at every process of the machine.
std::vector<pid_t> DescendantsOf(pid_t root, pid_t except = 0);

// Whether `pid` is `ancestor` or was started, by however many steps, by it.
bool DescendsFrom(pid_t pid, pid_t ancestor);

}  // namespace mete::agent
