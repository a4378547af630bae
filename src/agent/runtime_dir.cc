#include "agent/runtime_dir.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

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

Result<std::string> MakeSharedDir() { return MakeDir("/run/mete-agents", 0711); }

std::string ControlSocketPath(std::string_view dir, std::string_view id) {
  return Join(dir, id, kControlSuffix);
}

std::string AgentSocketPath(std::string_view dir, std::string_view id) {
  return Join(dir, id, kAgentSuffix);
}

std::vector<std::string> ListControlSockets(std::string_view dir) {
  std::vector<std::string> ids;
  DIR* folder = opendir(std::string(dir).c_str());
  if (folder == nullptr) return ids;
  while (const dirent* entry = readdir(folder)) {
    std::string_view name = entry->d_name;
    if (name.size() > kControlSuffix.size() && name.ends_with(kControlSuffix)) {
      ids.emplace_back(name.substr(0, name.size() - kControlSuffix.size()));
    }
  }
  closedir(folder);
  std::ranges::sort(ids);
  return ids;
}

}  // namespace mete::agent
