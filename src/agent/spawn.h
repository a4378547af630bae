// Starting the agent's main process inside its group.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "agent/host.h"
#include "agent/identity.h"
#include "mete/error.h"

namespace mete::agent {

struct SpawnRequest {
  std::vector<char*> argv;               // ends with a nullptr
  std::vector<std::string> environment;  // "NAME=value", added to the caller's, replacing its own
  sigset_t signal_mask;                  // what the program starts with
  const Identity* identity = nullptr;    // as whom; unset: as the caller
  // Called when the process is in the group and before it becomes the program; an error ends it.
  std::function<Result<void>(pid_t)> before_start = {};
};

struct Spawned {
  pid_t pid = -1;      // 0 where the program could not be started; nothing is left of it then
  int exec_errno = 0;  // why
};

// Forks, joins the group, executes. The program keeps the caller's descriptors, terminal, process
// group and signal dispositions, as under env(1) or nohup(1); it never runs outside the group.
// Under another identity it keeps only descriptors 0 to 2, and see identity.h.
// Returns when the program runs, or could not be started. kSystem: mete itself failed;
// kNotPermitted: it may not become that user; else what before_start answered. Every descriptor of
// mete's own is close-on-exec.
Result<Spawned> Spawn(Group& group, const SpawnRequest& request);

// 127 if there is no such program, 126 if it cannot be run: as env(1) answers.
int ExitStatusOfExecError(int exec_errno);

}  // namespace mete::agent
