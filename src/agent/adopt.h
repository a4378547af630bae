// Agents whose owner died: found again, and given to whoever comes back, or settled as their
// records say.
//
// What is there is read from three places: the records in the runtime folder, the tree of groups,
// and the labels of groups whose record is gone. An agent is somebody's while its record is locked,
// or, if only a label tells of it, while the process that the label names runs. Everything here can
// be done at any time and by several at once: whoever holds the lock acts, the others leave alone.
//
// Order rules:
//   1. the record is taken (locked) before the group is looked at;
//   2. limits are written before anything is thawed, since a crash may have left a quota lifted;
//   3. an agent that is to end is killed as it is, frozen or not, and never thawed first;
//   4. the record goes last, after the group: a crash in here leaves something to go on with.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/host.h"
#include "agent/record_file.h"
#include "mete/clock.h"
#include "mete/error.h"

namespace mete::agent {

enum class Owner : std::uint8_t {
  kAlive,    // or somebody takes care of it at this moment
  kGone,     // nobody has it; the record is ours while `file` is there
  kUnknown,  // no record tells, or it tells of processes that cannot be seen from here
};
std::string_view NameOf(Owner owner) noexcept;  // "alive"

struct FoundAgent {
  std::string name;  // its id; of a group without a record, the group's name
  Owner owner = Owner::kUnknown;
  std::optional<AgentRecord> record;  // as its owner last wrote it
  std::optional<FoundGroup> group;    // missing: there is none any more
  std::optional<RecordFile> file;     // locked by this process
  std::vector<std::string> sockets;   // of which no record tells, and nobody listens
};

// Every agent of which there is a record in the folder or a group on the host, or whose sockets
// were left there or in the `shared` folder (none: empty), in the order of their names; then empty
// groups of sessions and tenants. Takes the records of those whose owner is gone: they are let go
// when the answer is.
Result<std::vector<FoundAgent>> FindAgents(Host& host, const std::string& dir, const Clock& clock,
                                           const std::string& shared = {});

// One of them, without a look at the others. E2070: no record; E2080: its owner lives.
Result<FoundAgent> FindAgent(Host& host, const std::string& record_path, const Clock& clock);

enum class Decision : std::uint8_t {
  kLeave,   // it is somebody's, or nobody can tell
  kKeep,    // its lease is valid, or it runs on in its limits
  kThaw,    // nobody came back for it in time, and it may run on
  kEnd,     // kill it, remove the group and the record
  kForget,  // the group is gone: remove the record and the sockets, whichever are left
};
std::string_view NameOf(Decision decision) noexcept;  // "end"

// What is to be done with it at `now`, by its record; without one nothing is done.
Decision Decide(const FoundAgent& found, Time now);

// Does it. kThaw and kKeep see that the kernel holds the limits of the record first. A record that
// cannot be written prevents nothing. REQUIRES: Decide said so.
Result<void> Settle(Host& host, FoundAgent& found, Decision decision);

// An agent in the hands of a new owner.
struct Adopted {
  AgentRecord record;  // the owner is this process now
  std::unique_ptr<Group> group;
  Sample sample;                   // what was used until now
  UniqueFd leader;                 // -1: the main process ended, and nobody can tell how
  std::optional<RecordFile> file;  // for a RecordedGroup
};

// Takes over one whose owner is gone: opens its group, sees that the kernel holds its limits, reads
// its counters. Nothing is thawed or killed. E2080: somebody has it; E2070: its group is gone.
Result<Adopted> Adopt(Host& host, FoundAgent found);

// A new record. Who was left behind under that name is settled first, if nothing is to be kept of
// it. E2076: its owner lives, or it is kept.
Result<RecordFile> ClaimRecord(Host& host, const std::string& path, const AgentRecord& record,
                               const Clock& clock);

// What a new record begins with: this process as the owner, this boot.
AgentRecord NewRecord(const Clock& clock);

}  // namespace mete::agent
