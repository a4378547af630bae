#include "agent/record_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace mete::agent {
namespace {

constexpr std::string_view kSuffix = ".record";
constexpr off_t kFileBytes = 2 * kRecordSlotBytes;
// Between opening a file and locking it others may remove it as often as they end an agent.
constexpr int kLockAttempts = 100;

std::unexpected<Error> SystemError(const char* what, const std::string& path, int error) {
  return Fail(ErrorCode::kSystem, std::string("the record of an agent cannot be ") + what + ": " +
                                      path + ": " + std::strerror(error));
}

// Whether the path still names the opened file.
bool IsSame(int file, const std::string& path) {
  struct stat opened{}, named{};
  return fstat(file, &opened) == 0 && lstat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

// The younger of the two; the older one if the younger was not written to its end.
Result<AgentRecord> ReadFrom(int file, const std::string& path) {
  std::array<char, kRecordSlotBytes> slot;
  Result<AgentRecord> best = Fail(ErrorCode::kInvalidArgument, "no record of an agent: " + path);
  for (off_t at = 0; at < kFileBytes; at += kRecordSlotBytes) {
    const ssize_t got = pread(file, slot.data(), slot.size(), at);
    if (got <= 0) continue;
    Result<AgentRecord> record = DecodeRecord({slot.data(), static_cast<std::size_t>(got)});
    if (record && (!best || record->sequence > best->sequence))
      best = std::move(record);
    else if (!record && !best && slot[0] != '\0')
      best = std::move(record);
  }
  return best;
}

int WriteSlot(int file, const std::string& text, std::uint64_t sequence) {
  std::array<char, kRecordSlotBytes> slot{};
  std::ranges::copy(text, slot.begin());
  const off_t at = static_cast<off_t>(sequence % 2) * kRecordSlotBytes;
  for (;;) {
    const ssize_t put = pwrite(file, slot.data(), slot.size(), at);
    if (put == static_cast<ssize_t>(slot.size())) return 0;
    if (put < 0 && errno != EINTR) return errno;
    if (put >= 0) return ENOSPC;
  }
}

}  // namespace

std::string RecordPath(std::string_view dir, std::string_view id) {
  return std::string(dir).append("/").append(id).append(kSuffix);
}

std::vector<std::string> ListRecords(std::string_view dir) {
  std::vector<std::string> paths;
  DIR* folder = opendir(std::string(dir).c_str());
  if (folder == nullptr) return paths;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name.size() <= kSuffix.size() || !name.ends_with(kSuffix)) continue;
    paths.push_back(RecordPath(dir, name.substr(0, name.size() - kSuffix.size())));
  }
  closedir(folder);
  std::ranges::sort(paths);
  return paths;
}

Result<AgentRecord> ReadRecord(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file && errno == ENOENT) {
    return Fail(ErrorCode::kNotFound, "there is no record of an agent: " + path);
  }
  if (!file) return SystemError("read", path, errno);
  return ReadFrom(file.get(), path);
}

Result<RecordFile> RecordFile::Lock(const std::string& path, int flags) {
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600));
    if (!file && errno == ENOENT && (flags & O_CREAT) == 0) {
      return Fail(ErrorCode::kNotFound, "there is no record of an agent: " + path);
    }
    if (!file) return SystemError("opened", path, errno);
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return SystemError("locked", path, errno);
      return Fail(ErrorCode::kInUse, "the owner of the agent lives: " + path);
    }
    // Who removed it meanwhile had the lock; the file that was opened is nobody's any more.
    if (IsSame(file.get(), path)) return RecordFile(std::move(file), path);
  }
  return SystemError("locked", path, EBUSY);
}

Result<RecordFile> RecordFile::Take(const std::string& path) {
  Result<RecordFile> taken = Lock(path, 0);
  if (!taken) return taken;
  if (Result<AgentRecord> record = ReadFrom(taken->file_.get(), path)) {
    taken->sequence_ = record->sequence;
    taken->last_ = *std::move(record);
  }
  return taken;
}

Result<RecordFile> RecordFile::Make(const std::string& path, const AgentRecord& record) {
  Result<RecordFile> made = Lock(path, O_CREAT);
  if (!made && made.error().code == ErrorCode::kInUse) {
    return Fail(ErrorCode::kAlreadyExists, made.error().message);
  }
  if (!made) return made;
  struct stat status{};
  if (fstat(made->file_.get(), &status) == 0 && status.st_size > 0) {
    if (ReadFrom(made->file_.get(), path)) {
      return Fail(ErrorCode::kAlreadyExists,
                  "an agent of that name was left behind, `mete gc` ends it: " + path);
    }
  }
  const int error = posix_fallocate(made->file_.get(), 0, kFileBytes);
  if (error != 0) {
    made->Remove();
    return SystemError("made", path, error);
  }
  if (Result<void> written = made->Write(record); !written) {
    made->Remove();
    return std::unexpected(written.error());
  }
  return made;
}

Result<void> RecordFile::Write(AgentRecord record) {
  record.sequence = sequence_ + 1;
  const std::string text = EncodeRecord(record);
  if (text.size() > kMaxLabelBytes) {
    return Fail(ErrorCode::kSystem, "the record of an agent is too long: " + path_ + ": allowed " +
                                        std::to_string(kMaxLabelBytes) + " bytes, given " +
                                        std::to_string(text.size()));
  }
  if (const int error = WriteSlot(file_.get(), text, record.sequence)) {
    return SystemError("written", path_, error);
  }
  sequence_ = record.sequence;
  last_ = std::move(record);
  return {};
}

void RecordFile::Remove() {
  if (!file_) return;
  if (IsSame(file_.get(), path_)) unlink(path_.c_str());
  file_.reset();
}

}  // namespace mete::agent
