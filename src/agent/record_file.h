// The record of one agent in the runtime folder, and the lock that says whether its owner lives.
//
// The file has two places for a record, of a page each, written in turn: a process that is killed
// while it writes leaves the one before. Both have their space on the disk from the start, so that
// a disk that fills up does not keep anyone from writing down what he is about to do. The owner
// holds a lock (flock(2)) on it, which the kernel drops when the owner dies, however it dies.
// Nothing is forced to the disk: groups do not outlive the boot either.
//
// What is told in the group's label beside it is the same text; it is what is left where somebody
// empties the folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/record.h"
#include "base/unique_fd.h"
#include "mete/error.h"

namespace mete::agent {

// A page each; a label holds a little less.
inline constexpr std::size_t kRecordSlotBytes = 4096;

std::string RecordPath(std::string_view dir, std::string_view id);
// The paths of the records in the folder, sorted by their names. Empty if there is no folder.
std::vector<std::string> ListRecords(std::string_view dir);

// The last whole record in the file, without its lock: kNotFound, kInvalidArgument if it holds
// none.
Result<AgentRecord> ReadRecord(const std::string& path);

// Holds the lock. Moving keeps it; the destructor drops it and leaves the file.
class RecordFile {
 public:
  // A new file that holds the record. E2076: another has that name, whose owner lives, or which was
  // left by one who died: Take it, or end it first. kSystem: it cannot be written.
  static Result<RecordFile> Make(const std::string& path, const AgentRecord& record);

  // One whose owner is gone. E2080: its owner lives, or somebody else takes care of it at this
  // moment. E2070: there is none. One without a whole record in it is taken too.
  static Result<RecordFile> Take(const std::string& path);

  // Nothing if there was no whole record.
  const std::optional<AgentRecord>& last() const { return last_; }
  const std::string& path() const { return path_; }

  // Replaces the record, whole or not at all; its number is one more than that of the last one.
  Result<void> Write(AgentRecord record);

  // Unlinks the file; somebody who waits for the lock finds it gone. Safe to repeat.
  void Remove();

 private:
  RecordFile(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  static Result<RecordFile> Lock(const std::string& path, int flags);

  UniqueFd file_;
  std::string path_;
  std::optional<AgentRecord> last_;
  std::uint64_t sequence_ = 0;  // of the last writing, also of one that failed
};

}  // namespace mete::agent
