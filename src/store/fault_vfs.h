// The system calls of SQLite, for tests: counted, failed in turn, and recorded, so that a loss of
// power after any of them can be made up.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace mete::store {

class FaultVfs {
 public:
  enum class Call { kOpen, kWrite, kSync, kTruncate, kLock, kDelete, kSyncFolder };
  enum class Fault {
    kIoError,     // nothing is done: EIO
    kShortWrite,  // half of it is written; what is not a write fails as before
    kFull,        // nothing is written: ENOSPC
  };
  struct Record {
    Call call;
    bool is_failed;
    std::string file;  // its name without the folder
    std::int64_t offset = 0;
    std::string data{};
  };
  using Files = std::map<std::string, std::string>;

  // Registered under the name while it lives.
  explicit FaultVfs(std::string name);
  ~FaultVfs();
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;

  const std::string& name() const noexcept { return name_; }

  // The n-th call from now on fails, from 1, and with `lasting` every one after it.
  void FailNth(std::int64_t nth, Fault fault, bool lasting);
  void Heal() noexcept { fails_in_ = 0; }
  bool has_failed() const noexcept { return has_failed_; }

  std::int64_t calls() const noexcept { return calls_; }
  // Of all calls, in order, while `records` is set.
  void SetRecording(bool records) noexcept { records_ = records; }
  const std::vector<Record>& records() const noexcept { return recorded_; }

  // Records that the folder was synced by somebody else.
  void FolderIsSynced() { Keep(Call::kSyncFolder, false, ""); }

  // What a disk may hold when the power goes after the first `count` records: of each file what was
  // synced, and of what was written since, each sector or none, in any mixture. A sync that failed
  // has let go of what it should have written: that is on the disk or not, and no later sync brings
  // it there.
  Files AfterPowerLoss(std::size_t count, std::mt19937_64& random) const;

 private:
  friend struct FaultFile;
  // Counts the call; whether it is to fail.
  bool Fails();
  void Keep(Call call, bool is_failed, const std::string& file, std::int64_t offset = 0,
            std::string data = {});
  static int Open(sqlite3_vfs* vfs, sqlite3_filename path, sqlite3_file* file, int flags,
                  int* flags_out);
  static int Delete(sqlite3_vfs* vfs, const char* path, int sync_folder);

  const std::string name_;
  sqlite3_vfs vfs_{};
  sqlite3_vfs* const real_;
  Fault fault_ = Fault::kIoError;
  std::int64_t fails_in_ = 0;  // calls until the one that fails; 0: none
  bool is_lasting_ = false;
  bool has_failed_ = false;
  bool records_ = false;
  std::int64_t calls_ = 0;
  std::vector<Record> recorded_;
};

}  // namespace mete::store
