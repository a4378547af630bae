// Where the sockets of running agents are: one folder per user.
//
//   $XDG_RUNTIME_DIR/mete, else /run/mete for root, else /tmp/mete-UID
//   ID.sock    the control socket of `mete run`: `mete quota`, `resume`, `terminate` speak to it
//   ID.agent   the agent's own socket, which METE_SOCKET names
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mete/error.h"

namespace mete::agent {

std::string RuntimeDir();

// kSystem if the folder belongs to someone else or lets others write: a socket there could be
// anybody's. One that is not there is no error.
Result<void> CheckRuntimeDir(const std::string& dir);

// Makes the folder with mode 0700 where it is missing, and checks it. kSystem: it cannot.
Result<std::string> MakeRuntimeDir();

// Where the sockets of agents are that run as another user, who cannot come through the folder of
// the caller: /run/mete-agents, root's, where anybody may open what he knows the name of. Only root
// can start such an agent.
std::string SharedDir();
Result<std::string> MakeSharedDir();

std::string ControlSocketPath(std::string_view dir, std::string_view id);
std::string AgentSocketPath(std::string_view dir, std::string_view id);

// The ids whose control sockets are in the folder, sorted; a socket may be left over from a run
// that was killed together with its guardian, so that nobody answers. Empty if there is no folder.
std::vector<std::string> ListControlSockets(std::string_view dir);

// The paths of all sockets in the folder, of both kinds, sorted. Empty if there is no folder.
std::vector<std::string> ListSockets(std::string_view dir);
// The id in the path of one; empty: it is none.
std::string IdOfSocket(std::string_view path);

// Whether nobody listens on the socket any more. One that cannot be reached is taken for live.
bool IsDeadSocket(const std::string& path);
// Removes it in that case.
void RemoveDeadSocket(const std::string& path);

}  // namespace mete::agent
