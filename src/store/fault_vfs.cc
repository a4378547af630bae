#include "store/fault_vfs.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>

namespace mete::store {

// What SQLite sees as its file; the file of the real system stands behind it.
struct FaultFile {
  sqlite3_file base;
  FaultVfs* owner;
  std::string* name;

  static FaultFile& Of(sqlite3_file* file) { return *reinterpret_cast<FaultFile*>(file); }
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }

  static int Close(sqlite3_file* file) {
    FaultFile& self = Of(file);
    delete self.name;
    return self.real()->pMethods->xClose(self.real());
  }
  static int Read(sqlite3_file* file, void* to, int bytes, sqlite3_int64 at) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xRead(real, to, bytes, at);
  }
  static int Write(sqlite3_file* file, const void* from, int bytes, sqlite3_int64 at) {
    FaultFile& self = Of(file);
    const bool fails = self.owner->Fails();
    int written = bytes;
    if (fails) written = self.owner->fault_ == FaultVfs::Fault::kShortWrite ? bytes / 2 : 0;
    self.owner->Keep(FaultVfs::Call::kWrite, fails, *self.name, at,
                     {static_cast<const char*>(from), static_cast<std::size_t>(written)});
    if (written > 0) {
      const int code = self.real()->pMethods->xWrite(self.real(), from, written, at);
      if (code != SQLITE_OK) return code;
    }
    if (!fails) return SQLITE_OK;
    return self.owner->fault_ == FaultVfs::Fault::kIoError ? SQLITE_IOERR_WRITE : SQLITE_FULL;
  }
  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    FaultFile& self = Of(file);
    const bool fails = self.owner->Fails();
    self.owner->Keep(FaultVfs::Call::kTruncate, fails, *self.name, size);
    if (fails) return SQLITE_IOERR_TRUNCATE;
    return self.real()->pMethods->xTruncate(self.real(), size);
  }
  static int Sync(sqlite3_file* file, int) {
    FaultFile& self = Of(file);
    const bool fails = self.owner->Fails();
    self.owner->Keep(FaultVfs::Call::kSync, fails, *self.name);
    // The test's own machine does not fail: what is kept in memory is enough.
    return fails ? SQLITE_IOERR_FSYNC : SQLITE_OK;
  }
  static int Size(sqlite3_file* file, sqlite3_int64* size) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xFileSize(real, size);
  }
  static int Lock(sqlite3_file* file, int level) {
    FaultFile& self = Of(file);
    if (self.owner->Fails()) return SQLITE_IOERR_LOCK;
    return self.real()->pMethods->xLock(self.real(), level);
  }
  static int Unlock(sqlite3_file* file, int level) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xUnlock(real, level);
  }
  static int IsReserved(sqlite3_file* file, int* answer) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xCheckReservedLock(real, answer);
  }
  static int Control(sqlite3_file* file, int code, void* argument) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xFileControl(real, code, argument);
  }
  static int SectorSize(sqlite3_file* file) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xSectorSize(real);
  }
  static int Characteristics(sqlite3_file* file) {
    sqlite3_file* real = Of(file).real();
    return real->pMethods->xDeviceCharacteristics(real);
  }
};

namespace {

constexpr std::int64_t kSector = 512;

// Without shared memory: the store needs none.
constexpr sqlite3_io_methods MakeMethods() {
  sqlite3_io_methods methods{};
  methods.iVersion = 1;
  methods.xClose = FaultFile::Close;
  methods.xRead = FaultFile::Read;
  methods.xWrite = FaultFile::Write;
  methods.xTruncate = FaultFile::Truncate;
  methods.xSync = FaultFile::Sync;
  methods.xFileSize = FaultFile::Size;
  methods.xLock = FaultFile::Lock;
  methods.xUnlock = FaultFile::Unlock;
  methods.xCheckReservedLock = FaultFile::IsReserved;
  methods.xFileControl = FaultFile::Control;
  methods.xSectorSize = FaultFile::SectorSize;
  methods.xDeviceCharacteristics = FaultFile::Characteristics;
  return methods;
}
constexpr sqlite3_io_methods kMethods = MakeMethods();

std::string NameIn(const char* path) {
  const std::string_view text(path == nullptr ? "" : path);
  return std::string(text.substr(text.rfind('/') + 1));
}

void Put(std::string& content, std::int64_t at, std::string_view data) {
  const auto begin = static_cast<std::size_t>(at);
  if (content.size() < begin + data.size()) content.resize(begin + data.size());
  std::memcpy(content.data() + begin, data.data(), data.size());
}

// Each sector of what was written, or not.
void PutSome(std::string& content, const FaultVfs::Record& record, std::mt19937_64& random) {
  if (record.call == FaultVfs::Call::kTruncate) {
    if (random() % 2 == 0) content.resize(static_cast<std::size_t>(record.offset));
    return;
  }
  const auto end = record.offset + static_cast<std::int64_t>(record.data.size());
  const auto all = random() % 3;  // none, all, some
  for (std::int64_t at = record.offset; at < end;) {
    const std::int64_t next = std::min((at / kSector + 1) * kSector, end);
    if (all == 1 || (all == 2 && random() % 2 == 0)) {
      Put(content, at,
          std::string_view(record.data)
              .substr(static_cast<std::size_t>(at - record.offset),
                      static_cast<std::size_t>(next - at)));
    }
    at = next;
  }
}

void PutWhole(std::string& content, const FaultVfs::Record& record) {
  if (record.call == FaultVfs::Call::kWrite)
    Put(content, record.offset, record.data);
  else
    content.resize(static_cast<std::size_t>(record.offset));
}

}  // namespace

FaultVfs::FaultVfs(std::string name) : name_(std::move(name)), real_(sqlite3_vfs_find(nullptr)) {
  vfs_ = *real_;
  vfs_.szOsFile = static_cast<int>(sizeof(FaultFile)) + real_->szOsFile;
  vfs_.zName = name_.c_str();
  vfs_.pNext = nullptr;
  vfs_.xOpen = Open;
  vfs_.xDelete = Delete;
  vfs_.pAppData = this;
  sqlite3_vfs_register(&vfs_, 0);
}

FaultVfs::~FaultVfs() { sqlite3_vfs_unregister(&vfs_); }

void FaultVfs::FailNth(std::int64_t nth, Fault fault, bool lasting) {
  fails_in_ = nth;
  fault_ = fault;
  is_lasting_ = lasting;
  has_failed_ = false;
}

bool FaultVfs::Fails() {
  ++calls_;
  if (fails_in_ == 0 || --fails_in_ > 0) return false;
  if (is_lasting_) fails_in_ = 1;
  has_failed_ = true;
  return true;
}

void FaultVfs::Keep(Call call, bool is_failed, const std::string& file, std::int64_t offset,
                    std::string data) {
  if (records_) recorded_.push_back({call, is_failed, file, offset, std::move(data)});
}

int FaultVfs::Open(sqlite3_vfs* vfs, sqlite3_filename path, sqlite3_file* file, int flags,
                   int* flags_out) {
  FaultVfs& self = *static_cast<FaultVfs*>(vfs->pAppData);
  file->pMethods = nullptr;
  const bool fails = self.Fails();
  self.Keep(Call::kOpen, fails, NameIn(path));
  if (fails) return SQLITE_CANTOPEN;
  auto& opened = FaultFile::Of(file);
  const int code = self.real_->xOpen(self.real_, path, opened.real(), flags, flags_out);
  if (code != SQLITE_OK) return code;
  opened.owner = &self;
  opened.name = new std::string(NameIn(path));
  file->pMethods = &kMethods;
  return SQLITE_OK;
}

int FaultVfs::Delete(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  FaultVfs& self = *static_cast<FaultVfs*>(vfs->pAppData);
  const bool fails = self.Fails();
  self.Keep(Call::kDelete, fails, NameIn(path), sync_folder);
  return fails ? SQLITE_IOERR_DELETE : self.real_->xDelete(self.real_, path, sync_folder);
}

FaultVfs::Files FaultVfs::AfterPowerLoss(std::size_t count, std::mt19937_64& random) const {
  Files disk, ghosts;  // names that are gone, and may be there again
  std::map<std::string, std::vector<const Record*>> pending;
  for (std::size_t i = 0; i < std::min(count, recorded_.size()); ++i) {
    const Record& record = recorded_[i];
    std::vector<const Record*>& waiting = pending[record.file];
    switch (record.call) {
      case Call::kOpen:
        if (!record.is_failed) disk[record.file];
        break;
      case Call::kWrite: waiting.push_back(&record); break;
      case Call::kTruncate:
        if (!record.is_failed) waiting.push_back(&record);
        break;
      case Call::kSync:
        for (const Record* written : waiting) {
          if (record.is_failed)
            PutSome(disk[record.file], *written, random);
          else
            PutWhole(disk[record.file], *written);
        }
        waiting.clear();
        break;
      case Call::kDelete:
        if (record.is_failed) break;
        if (record.offset == 0) ghosts[record.file] = disk[record.file];
        disk.erase(record.file);
        waiting.clear();
        break;
      case Call::kSyncFolder: ghosts.clear(); break;
      case Call::kLock: break;
    }
  }
  for (const auto& [file, waiting] : pending) {
    if (!disk.contains(file)) continue;
    for (const Record* written : waiting) PutSome(disk[file], *written, random);
  }
  for (const auto& [file, content] : ghosts) {
    if (random() % 2 == 0) disk.emplace(file, content);
  }
  return disk;
}

}  // namespace mete::store
