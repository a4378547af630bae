#include "store/state_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/quote.h"

namespace mete::store {
namespace {

constexpr const char* kLockName = "lock";

std::unexpected<Error> Unusable(const std::string& why, const std::string& path) {
  return Fail(ErrorCode::kStoreUnavailable,
              "the state folder cannot be used: " + why + ": " + Quoted(path));
}

// The folder and those above it that are missing.
bool MakeFolders(const std::string& path) {
  for (std::size_t end = path.find('/', 1); end != std::string::npos;
       end = path.find('/', end + 1)) {
    if (mkdir(path.substr(0, end).c_str(), 0700) != 0 && errno != EEXIST) return false;
  }
  return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST;
}

// Who may write to the folder may put another database there.
Result<void> CheckFolder(int folder, const std::string& path) {
  struct stat found{};
  if (fstat(folder, &found) != 0) return Unusable(std::strerror(errno), path);
  if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Unusable("others may write to it (chmod 700 ends that)", path);
  }
  if (found.st_uid != geteuid() && found.st_uid != 0) {
    return Unusable("it belongs to user " + std::to_string(found.st_uid) + ", not to user " +
                        std::to_string(geteuid()),
                    path);
  }
  return {};
}

// Digits and a line's end, or what a loss of power leaves of them; not somebody else's file.
bool IsOurs(int lock) {
  std::array<char, 16> text;
  const ssize_t got = pread(lock, text.data(), text.size(), 0);
  if (got < 0 || got == static_cast<ssize_t>(text.size())) return false;
  const std::string_view read(text.data(), static_cast<std::size_t>(got));
  return read.find_first_not_of(std::string_view("0123456789\n\0", 12)) == read.npos;
}

std::string OwnerOf(int lock) {
  std::array<char, 16> text;
  const ssize_t got = pread(lock, text.data(), text.size(), 0);
  const std::string_view read(text.data(), static_cast<std::size_t>(got > 0 ? got : 0));
  const std::string_view number = read.substr(0, read.find_first_not_of("0123456789"));
  return number.empty() ? "another process" : "process " + std::string(number);
}

}  // namespace

Result<StateFolder> StateFolder::Open(const std::string& path) {
  if (path.empty()) return Unusable("it has no name", path);
  if (!MakeFolders(path)) return Unusable(std::strerror(errno), path);
  StateFolder folder;
  // The database is opened again after a failure, wherever the process has moved to by then.
  char* const resolved = realpath(path.c_str(), nullptr);
  folder.path_ = resolved == nullptr ? path : resolved;
  free(resolved);
  folder.folder_.reset(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.folder_) return Unusable(std::strerror(errno), path);
  if (Result<void> good = CheckFolder(folder.fd(), path); !good) {
    return std::unexpected(good.error());
  }
  folder.lock_.reset(
      openat(folder.fd(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!folder.lock_) return Unusable(std::string("its lock: ") + std::strerror(errno), path);
  if (flock(folder.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return Unusable(std::string("it cannot be locked: ") + std::strerror(errno), path);
    }
    return Fail(ErrorCode::kInUse, "the state folder is in use by " + OwnerOf(folder.lock_.get()) +
                                       ": " + Quoted(path));
  }
  if (!IsOurs(folder.lock_.get())) {
    return Unusable("its lock is not a file of mete", folder.PathOf(kLockName));
  }
  // On a full disk the lock holds all the same, only without the number.
  const std::string number = std::to_string(getpid()) + "\n";
  if (ftruncate(folder.lock_.get(), 0) == 0) {
    (void)!pwrite(folder.lock_.get(), number.data(), number.size(), 0);
  }
  return folder;
}

}  // namespace mete::store
