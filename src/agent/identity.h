// As whom the program of an agent runs.
//
// An agent under another user than mete's cannot leave its group or write limits: the files of the
// groups are not its own. Becoming that user also takes everything that could undo it: capabilities
// (the bounding set too), what set-user-id programs would give (no-new-privileges), the groups of
// the caller, and descriptors of the caller from 3 up, which may be of files that only the caller
// may open. The umask, limits of the process, the folder and the terminal stay.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "mete/error.h"

namespace mete::agent {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
  // "NAME=value": HOME, USER and LOGNAME of that user, as sudo(8) sets them.
  std::vector<std::string> environment;
};

// "NAME", "UID", "NAME:GROUP", "UID:GID": of a user that the system knows, also its own
// supplementary groups, and its first one unless another is named; of a bare number that it does
// not know, none, and a group must be named. E2071.
Result<Identity> FindIdentity(std::string_view text);

// Becomes it, for good. For a child between fork and exec: async-signal-safe, and only for this
// thread. 0 or an errno; after an error the process must end.
int Become(const Identity& identity) noexcept;

}  // namespace mete::agent
