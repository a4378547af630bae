// Keeps what a process has open of a folder from the children that it forks without an exec: a lock
// of flock(2) and a socket that listens belong to all who have them open.
#pragma once

#include <string>

namespace mete::server {

// From now on a forked child closes its copies of descriptors of files in the folder, and of
// sockets that are bound there. `folder` is absolute. Each call is matched by one of
// ReleaseToChildren.
void KeepFromChildren(const std::string& folder);
void ReleaseToChildren(const std::string& folder);

}  // namespace mete::server
