#include "agent/runtime_dir.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace mete::agent {
namespace {

constexpr std::string_view kControlSuffix = ".sock";
constexpr std::string_view kAgentSuffix = ".agent";

std::string Join(std::string_view dir, std::string_view id, std::string_view suffix) {
  std::string path(dir);
  path += '/';
  path += id;
  path += suffix;
  return path;
}

}  // namespace

std::string RuntimeDir() {
  const char* xdg = std::getenv("XDG_RUNTIME_DIR");
  // The specification tells to ignore a path that is not absolute.
  if (xdg != nullptr && xdg[0] == '/') return std::string(xdg) + "/mete";
  const uid_t uid = geteuid();
  return uid == 0 ? "/run/mete" : "/tmp/mete-" + std::to_string(uid);
}

Result<void> CheckRuntimeDir(const std::string& dir) {
  struct stat status{};
  if (lstat(dir.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return Fail(ErrorCode::kSystem,
                "cannot read the folder for sockets: " + dir + ": " + std::strerror(errno));
  }
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 0022) != 0) {
    return Fail(ErrorCode::kSystem,
                "the folder for sockets must be a folder that belongs to this user, writable by "
                "nobody else: " +
                    dir);
  }
  return {};
}

namespace {

Result<std::string> MakeDir(std::string dir, mode_t mode) {
  if (mkdir(dir.c_str(), 0700) != 0) {
    if (errno != EEXIST) {
      return Fail(ErrorCode::kSystem,
                  "cannot make the folder for sockets: " + dir + ": " + std::strerror(errno));
    }
  } else if (chmod(dir.c_str(), mode) != 0) {  // whatever the umask is
    return Fail(ErrorCode::kSystem,
                "cannot open the folder for sockets: " + dir + ": " + std::strerror(errno));
  }
  if (Result<void> own = CheckRuntimeDir(dir); !own) return std::unexpected(own.error());
  return dir;
}

}  // namespace

Result<std::string> MakeRuntimeDir() { return MakeDir(RuntimeDir(), 0700); }

std::string SharedDir() { return "/run/mete-agents"; }

Result<std::string> MakeSharedDir() { return MakeDir(SharedDir(), 0711); }

std::string ControlSocketPath(std::string_view dir, std::string_view id) {
  return Join(dir, id, kControlSuffix);
}

std::string AgentSocketPath(std::string_view dir, std::string_view id) {
  return Join(dir, id, kAgentSuffix);
}

std::string IdOfSocket(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view suffix : {kControlSuffix, kAgentSuffix}) {
    if (name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
    return std::string(name.substr(0, name.size() - suffix.size()));
  }
  return {};
}

std::vector<std::string> ListSockets(std::string_view dir) {
  std::vector<std::string> paths;
  DIR* folder = opendir(std::string(dir).c_str());
  if (folder == nullptr) return paths;
  while (const dirent* entry = readdir(folder)) {
    if (!IdOfSocket(entry->d_name).empty()) paths.push_back(Join(dir, entry->d_name, ""));
  }
  closedir(folder);
  std::ranges::sort(paths);
  return paths;
}

std::vector<std::string> ListControlSockets(std::string_view dir) {
  std::vector<std::string> ids;
  for (const std::string& path : ListSockets(dir)) {
    if (path.ends_with(kControlSuffix)) ids.push_back(IdOfSocket(path));
  }
  std::ranges::sort(ids);
  return ids;
}

bool IsDeadSocket(const std::string& path) {
  struct stat status{};
  // connect(2) says the same of a file.
  if (lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::ranges::copy(path, address.sun_path);
  const UniqueFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!caller) return false;
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  return connect(caller.get(), to, sizeof address) != 0 && errno == ECONNREFUSED;
}

void RemoveDeadSocket(const std::string& path) {
  if (IsDeadSocket(path)) unlink(path.c_str());
}

}  // namespace mete::agent
