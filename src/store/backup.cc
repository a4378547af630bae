#include "store/backup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <memory>
#include <string_view>

#include "store/ledger_database.h"

namespace mete::store {
namespace {

constexpr std::string_view kBackupSuffix = ".backup";
constexpr const char* kUnfinished = "backup.unfinished";

std::optional<Failure> SystemFailure(const std::string& what) {
  return Failure{"the backup cannot be " + what + ": " + std::strerror(errno), false};
}

// SQLite's own way, page by page; it syncs what it wrote.
std::optional<Failure> Copy(Connection& from, const std::string& path) {
  Connection to(path, "", /*must_exist=*/false);
  if (!to.ok()) return to.failure();
  sqlite3_backup* const backup = sqlite3_backup_init(to.get(), "main", from.get(), "main");
  if (backup != nullptr) sqlite3_backup_step(backup, -1);
  to.Take(sqlite3_backup_finish(backup), "copied");
  // The copy says that it has a log, which it has not: one file is what is to be kept.
  to.Run("PRAGMA locking_mode = EXCLUSIVE");
  to.Run("PRAGMA journal_mode = DELETE");
  return to.ok() ? std::nullopt : std::optional(to.failure());
}

std::optional<Failure> CheckAndMark(const std::string& path) {
  LedgerDatabase copy(path, "");
  if (copy.ok()) {
    (void)copy.Load(StoreVisitor(), std::numeric_limits<std::size_t>::max());
    MarkRow mark = copy.mark();
    mark.is_copy = true;
    copy.WriteMarkRow(mark);
    copy.Checkpoint(/*empty=*/true);
  }
  copy.connection().Run("PRAGMA journal_mode = DELETE");
  return copy.ok() ? std::nullopt : std::optional(copy.connection().failure());
}

std::optional<Failure> Rename(const StateFolder& folder, const char* name) {
  if (renameat(folder.fd(), kUnfinished, folder.fd(), name) != 0) return SystemFailure("renamed");
  if (fsync(folder.fd()) != 0) return SystemFailure("synced");
  return std::nullopt;
}

void RemoveUnfinished(const StateFolder& folder) {
  for (const char* end : {"", "-wal", "-shm", "-journal"}) {
    unlinkat(folder.fd(), (std::string(kUnfinished) + end).c_str(), 0);
  }
}

}  // namespace

std::optional<Failure> CopyAsItIs(Connection& from, const StateFolder& folder, const char* name) {
  RemoveUnfinished(folder);
  auto failed = Copy(from, folder.PathOf(kUnfinished));
  if (!failed) failed = Rename(folder, name);
  if (failed) RemoveUnfinished(folder);
  return failed;
}

std::optional<Failure> MakeBackup(Connection& from, const StateFolder& folder, const char* name) {
  RemoveUnfinished(folder);
  auto failed = Copy(from, folder.PathOf(kUnfinished));
  if (!failed) failed = CheckAndMark(folder.PathOf(kUnfinished));
  if (!failed) failed = Rename(folder, name);
  if (failed) RemoveUnfinished(folder);
  return failed;
}

bool IsBackupDue(const StateFolder& folder) {
  struct stat found{};
  if (fstatat(folder.fd(), kBackupName, &found, 0) != 0) return true;
  const WallTime made{std::chrono::seconds(found.st_mtim.tv_sec)};
  const Duration age = SystemClock::Instance().WallNow() - made;
  return age >= kBackupAge || age < Duration(0);
}

std::string LeftWithoutDatabase(const StateFolder& folder) {
  struct stat found{};
  if (fstatat(folder.fd(), kDatabaseName, &found, 0) == 0 ? found.st_size != 0 : errno != ENOENT) {
    return {};
  }
  // The database has its first page on disk before it has a log.
  for (const char* name : {kLogName, kBackupName}) {
    if (fstatat(folder.fd(), name, &found, 0) == 0) return folder.PathOf(name);
  }
  return {};
}

std::string LatestBackupText(const StateFolder& folder) {
  std::string latest;
  std::time_t made = 0;
  struct Close {
    void operator()(DIR* entries) const noexcept { closedir(entries); }
  };
  const std::unique_ptr<DIR, Close> entries(opendir(folder.path().c_str()));
  while (const dirent* entry = entries ? readdir(entries.get()) : nullptr) {
    struct stat found{};
    if (!std::string_view(entry->d_name).ends_with(kBackupSuffix) ||
        fstatat(folder.fd(), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0 ||
        (!latest.empty() && found.st_mtim.tv_sec <= made)) {
      continue;
    }
    latest = folder.PathOf(entry->d_name);
    made = found.st_mtim.tv_sec;
  }
  if (latest.empty()) return "; there is no backup";
  std::tm parts{};
  char text[32];
  gmtime_r(&made, &parts);
  text[std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)] = '\0';
  return "; the latest backup is " + latest + " of " + text;
}

}  // namespace mete::store
