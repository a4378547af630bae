// Who is at the other end of a Unix socket.
#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"

namespace mete::agent {

// The process that connected, held by a descriptor so that its number cannot come to mean another
// process. `pidfd` is missing where the process is gone or cannot be seen.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  UniqueFd pidfd;
};

Peer IdentifyPeer(int socket);
Peer IdentifySelf();

// Whether the process still runs. What was asked about its pid before this answered yes was true of
// that process and of no other.
bool IsAlive(const UniqueFd& pidfd);

}  // namespace mete::agent
