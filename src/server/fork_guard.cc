#include "server/fork_guard.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

namespace mete::server {
namespace {

// Never destroyed: a fork may come after the static objects are gone.
struct Kept {
  std::mutex mutex;
  std::vector<std::string> folders;
};
Kept& All() {
  static Kept* const kept = new Kept;
  return *kept;
}

bool IsWithin(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

// A path that an address cannot hold was bound through a descriptor (agent/socket_server.cc).
bool IsBoundWithin(int fd, std::string_view folder) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;
  if (address.sun_family != AF_UNIX || size <= sizeof address.sun_family) return false;
  const std::string_view path(address.sun_path,
                              strnlen(address.sun_path, size - sizeof address.sun_family));
  return IsWithin(path, folder) || (folder.size() > 80 && path.starts_with("/proc/self/fd/") &&
                                    path.ends_with("/control.sock"));
}

void CloseInChild() {
  Kept& kept = All();
  std::vector<int> found;
  if (DIR* const all = kept.folders.empty() ? nullptr : opendir("/proc/self/fd")) {
    while (const dirent* entry = readdir(all)) {
      const int fd = std::atoi(entry->d_name);
      if (entry->d_name[0] == '.' || fd == dirfd(all)) continue;
      std::array<char, 4200> link{};
      const ssize_t size = readlinkat(dirfd(all), entry->d_name, link.data(), link.size());
      const std::string_view path(link.data(),
                                  static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
      for (const std::string& folder : kept.folders) {
        if (path == folder || IsWithin(path, folder) ||
            (path.starts_with("socket:") && IsBoundWithin(fd, folder))) {
          found.push_back(fd);
          break;
        }
      }
    }
    closedir(all);
  }
  for (const int fd : found) close(fd);
  kept.folders.clear();
  kept.mutex.unlock();
}

}  // namespace

void KeepFromChildren(const std::string& folder) {
  static const int registered =
      pthread_atfork([] { All().mutex.lock(); }, [] { All().mutex.unlock(); }, CloseInChild);
  static_cast<void>(registered);
  const std::lock_guard lock(All().mutex);
  All().folders.push_back(folder);
}

void ReleaseToChildren(const std::string& folder) {
  const std::lock_guard lock(All().mutex);
  std::vector<std::string>& folders = All().folders;
  if (const auto found = std::ranges::find(folders, folder); found != folders.end()) {
    folders.erase(found);
  }
}

}  // namespace mete::server
