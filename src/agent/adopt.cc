#include "agent/adopt.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "agent/peer.h"
#include "agent/recorded_group.h"
#include "agent/runtime_dir.h"

namespace mete::agent {
namespace {

constexpr Duration kKillDeadline = std::chrono::seconds(5);
constexpr int kTakeAttempts = 40;  // in 0.2 s

std::uint64_t PidSpace() {
  struct stat status{};
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

// Without the lock of a record: by the process that is said to be the owner.
Owner OwnerByProcess(const AgentRecord& record, const Clock& clock) {
  if (record.boot != clock.BootId()) return Owner::kGone;
  if (record.pid_space != PidSpace()) return Owner::kUnknown;
  return IsAlive(OpenProcess(record.owner)) ? Owner::kAlive : Owner::kGone;
}

// Whether the program of an owner that is gone runs in a group that was not found: one that was
// made from another position in the hierarchies. Then only the record tells of it.
bool RunsElsewhere(const FoundAgent& found, const Clock& clock) {
  return found.file && found.record && !found.group && found.record->boot == clock.BootId() &&
         found.record->pid_space == PidSpace() && IsAlive(OpenProcess(found.record->leader));
}

// Whether the group is the one that the record tells of, and not a later one of that name.
bool IsOf(const AgentRecord& record, const FoundGroup& group, const Clock& clock) {
  if (record.boot != clock.BootId()) return false;
  return record.group_id == 0 || group.inode == 0 || record.group_id == group.inode;
}

// Takes the record of an owner that is gone. A child that it was about to start holds the lock
// until it finds out that nobody is there, and so does whoever takes care of the agent at this
// moment.
Result<RecordFile> TakeSoon(const std::string& path, const Clock& clock) {
  Result<RecordFile> taken = RecordFile::Take(path);
  for (int i = 0; i < kTakeAttempts && !taken && taken.error().code == ErrorCode::kInUse; ++i) {
    const Result<AgentRecord> record = ReadRecord(path);
    if (!record || OwnerByProcess(*record, clock) != Owner::kGone) break;
    const timespec pause{0, 5'000'000};
    nanosleep(&pause, nullptr);
    taken = RecordFile::Take(path);
  }
  return taken;
}

// The record of a locked file, and the owner.
FoundAgent FromFile(const std::string& path, const Clock& clock) {
  FoundAgent found;
  found.name = path.substr(path.rfind('/') + 1);
  found.name.resize(found.name.rfind('.'));
  Result<RecordFile> taken = TakeSoon(path, clock);
  if (taken) {
    found.owner = Owner::kGone;
    found.record = taken->last();
    found.file = *std::move(taken);
    return found;
  }
  if (taken.error().code == ErrorCode::kInUse) found.owner = Owner::kAlive;
  if (Result<AgentRecord> record = ReadRecord(path)) found.record = *std::move(record);
  return found;
}

FoundAgent FromGroup(FoundGroup group, const Clock& clock) {
  FoundAgent found;
  found.name = group.name;
  if (Result<AgentRecord> record = DecodeRecord(group.label)) {
    if (IsOf(*record, group, clock)) {
      found.name = record->id;
      found.owner = OwnerByProcess(*record, clock);
      found.record = *std::move(record);
    }
  } else if (!group.leaf && !group.populated) {
    found.owner = Owner::kGone;
  }
  found.group = std::move(group);
  return found;
}

// Sockets nobody listens to any more. In the shared folder a namesake may, who has another folder.
void UnlinkSockets(const RecordFile& file, const std::string& id) {
  const std::string dir = file.path().substr(0, file.path().rfind('/'));
  unlink(ControlSocketPath(dir, id).c_str());
  unlink(AgentSocketPath(dir, id).c_str());
  RemoveDeadSocket(AgentSocketPath(SharedDir(), id));
}

// A record is there before its sockets, and goes after them. In the shared folder the record may be
// in another folder, and its owner about to listen: a moment later he does.
void AddSockets(const std::string& dir, const std::string& shared, std::vector<FoundAgent>* all) {
  std::vector<std::string> paths = ListSockets(dir);
  if (!shared.empty()) std::ranges::move(ListSockets(shared), std::back_inserter(paths));
  std::erase_if(paths, [&](const std::string& path) {
    return access(RecordPath(dir, IdOfSocket(path)).c_str(), F_OK) == 0 || !IsDeadSocket(path);
  });
  if (paths.empty()) return;
  const timespec pause{0, 20'000'000};
  nanosleep(&pause, nullptr);
  for (std::string& path : paths) {
    const std::string id = IdOfSocket(path);
    if (access(RecordPath(dir, id).c_str(), F_OK) == 0 || !IsDeadSocket(path)) continue;
    if (all->empty() || all->back().name != id || all->back().sockets.empty()) {
      FoundAgent& left = all->emplace_back();
      left.name = id;
      left.owner = Owner::kGone;
    }
    all->back().sockets.push_back(std::move(path));
  }
}

void WritePhase(FoundAgent& found, Group& group, Phase phase) {
  if (!found.record) return;
  AgentRecord record = *found.record;
  record.phase = phase;
  if (found.file && found.file->Write(record)) record.sequence = found.file->last()->sequence;
  [[maybe_unused]] Result<void> labelled = group.SetLabel(EncodeRecord(record));
}

// What the kernel holds is never loosened by this: a limit below what is in use is refused, and the
// tighter one that is there stays.
Result<void> RestoreLimits(const FoundAgent& found, Group& group) {
  const Result<void> above = group.RestoreAbove();
  if (!found.record) return above;
  Result<void> own = WriteLimits(group, *found.record);
  return own ? above : own;
}

Result<void> End(Host& host, FoundAgent& found) {
  Result<std::unique_ptr<Group>> group = host.Find(found.group->name);
  if (group) {
    WritePhase(found, **group, Phase::kEnding);
    if (found.group->leaf) {
      if (Result<void> killed = (*group)->Kill(kKillDeadline); !killed) return killed;
    }
    if (Result<void> removed = (*group)->Remove(); !removed) return removed;
  } else if (group.error().code != ErrorCode::kNotFound) {
    return std::unexpected(group.error());
  }
  found.group.reset();
  return {};
}

Result<void> Release(Host& host, FoundAgent& found, bool thaw) {
  Result<std::unique_ptr<Group>> group = host.Find(found.group->name);
  if (!group) return std::unexpected(group.error());
  const Result<void> restored = RestoreLimits(found, **group);
  if (!thaw) return restored;
  // Also where a limit could not be restored: to stand still for ever is no limit that was asked
  // for, and what could not be written is told.
  if (Result<void> thawed = (*group)->Thaw(); !thawed) return thawed;
  WritePhase(found, **group, Phase::kRunning);
  return restored;
}

}  // namespace

Result<RecordFile> ClaimRecord(Host& host, const std::string& path, const AgentRecord& record,
                               const Clock& clock) {
  Result<RecordFile> made = RecordFile::Make(path, record);
  if (made || made.error().code != ErrorCode::kAlreadyExists) return made;
  Result<FoundAgent> left = FindAgent(host, path, clock);
  if (!left) return made;
  const Decision decision = Decide(*left, clock.Now());
  if (decision != Decision::kEnd && decision != Decision::kForget) return made;
  if (Result<void> settled = Settle(host, *left, decision); !settled) {
    return std::unexpected(settled.error());
  }
  return RecordFile::Make(path, record);
}

std::string_view NameOf(Owner owner) noexcept {
  switch (owner) {
    case Owner::kAlive: return "alive";
    case Owner::kGone: return "gone";
    case Owner::kUnknown: return "unknown";
  }
  return "unknown";
}

std::string_view NameOf(Decision decision) noexcept {
  switch (decision) {
    case Decision::kLeave: return "leave";
    case Decision::kKeep: return "keep";
    case Decision::kThaw: return "thaw";
    case Decision::kEnd: return "end";
    case Decision::kForget: return "forget";
  }
  return "leave";
}

AgentRecord NewRecord(const Clock& clock) {
  AgentRecord record;
  record.boot = clock.BootId();
  record.pid_space = PidSpace();
  record.owner = IdentifyProcess(getpid());
  return record;
}

Result<std::vector<FoundAgent>> FindAgents(Host& host, const std::string& dir, const Clock& clock,
                                           const std::string& shared) {
  std::vector<FoundAgent> all;
  for (const std::string& path : ListRecords(dir)) all.push_back(FromFile(path, clock));
  // After the records are locked, so that no owner among them changes anything any more. An owner
  // who made both in between is met by the group's label.
  Result<std::vector<FoundGroup>> groups = host.Scan();
  if (!groups) return std::unexpected(groups.error());
  std::map<std::string_view, FoundAgent*> by_group;
  for (FoundAgent& found : all) {
    if (found.record) by_group.emplace(found.record->group, &found);
  }
  std::vector<FoundAgent> others;
  for (FoundGroup& group : *groups) {
    const auto known = by_group.find(group.name);
    if (known != by_group.end() && IsOf(*known->second->record, group, clock)) {
      known->second->group = std::move(group);
    } else if (group.leaf || !group.populated) {
      others.push_back(FromGroup(std::move(group), clock));
    }
  }
  for (FoundAgent& found : all) {
    if (RunsElsewhere(found, clock)) found.owner = Owner::kUnknown;
  }
  std::ranges::move(others, std::back_inserter(all));
  AddSockets(dir, shared, &all);
  // Levels last, and the lower ones first: they can go when what was below them has gone.
  std::ranges::stable_sort(all, [](const FoundAgent& a, const FoundAgent& b) {
    const bool a_level = a.group && !a.group->leaf, b_level = b.group && !b.group->leaf;
    if (a_level != b_level) return b_level;
    return a_level ? a.name > b.name : a.name < b.name;
  });
  return all;
}

Result<FoundAgent> FindAgent(Host& host, const std::string& record_path, const Clock& clock) {
  Result<RecordFile> taken = RecordFile::Take(record_path);
  if (!taken) return std::unexpected(taken.error());
  FoundAgent found;
  found.owner = Owner::kGone;
  found.record = taken->last();
  found.file = *std::move(taken);
  if (!found.record) return found;
  found.name = found.record->id;
  Result<std::unique_ptr<Group>> group = host.Find(found.record->group);
  if (!group) {
    if (RunsElsewhere(found, clock)) found.owner = Owner::kUnknown;
    return found;
  }
  FoundGroup seen;
  seen.name = found.record->group;
  seen.leaf = true;
  seen.inode = GroupIdOf(**group);
  if (Result<Sample> sample = (*group)->Read()) {
    seen.populated = sample->populated;
    seen.frozen = seen.freeze_wanted = sample->frozen;
  }
  if (IsOf(*found.record, seen, clock)) found.group = std::move(seen);
  return found;
}

Decision Decide(const FoundAgent& found, Time now) {
  if (found.owner != Owner::kGone) return Decision::kLeave;
  if (!found.group) {
    return found.file || !found.sockets.empty() ? Decision::kForget : Decision::kLeave;
  }
  if (!found.group->leaf) return Decision::kEnd;
  if (!found.record) return Decision::kLeave;
  if (found.record->phase == Phase::kEnding || !found.group->populated) return Decision::kEnd;
  if (found.record->lease_end.value_or(Time::min()) > now) return Decision::kKeep;
  if (found.record->orphan == OrphanPolicy::kEnd) return Decision::kEnd;
  return found.group->freeze_wanted ? Decision::kThaw : Decision::kKeep;
}

Result<void> Settle(Host& host, FoundAgent& found, Decision decision) {
  switch (decision) {
    case Decision::kLeave: return {};
    case Decision::kKeep: return Release(host, found, false);
    case Decision::kThaw: return Release(host, found, true);
    case Decision::kEnd:
      if (Result<void> ended = End(host, found); !ended) return ended;
      [[fallthrough]];
    case Decision::kForget:
      std::ranges::for_each(found.sockets, RemoveDeadSocket);
      if (!found.file) return {};
      UnlinkSockets(*found.file, found.name);
      found.file->Remove();
      return {};
  }
  return {};
}

Result<Adopted> Adopt(Host& host, FoundAgent found) {
  if (found.owner != Owner::kGone || !found.record) {
    return Fail(ErrorCode::kInUse,
                "the owner of the agent lives, or cannot be told: " + found.name);
  }
  if (!found.group) return Fail(ErrorCode::kNotFound, "the agent is gone: " + found.name);
  Result<std::unique_ptr<Group>> group = host.Find(found.group->name);
  if (!group) return std::unexpected(group.error());
  Adopted adopted;
  adopted.leader = OpenProcess(found.record->leader);
  if (Result<void> restored = RestoreLimits(found, **group); !restored) {
    return std::unexpected(restored.error());
  }
  Result<Sample> sample = (*group)->Read();
  if (!sample) return std::unexpected(sample.error());
  adopted.sample = *sample;
  adopted.record = *std::move(found.record);
  adopted.record.owner = IdentifyProcess(getpid());
  adopted.record.pid_space = PidSpace();
  if (found.file) {
    if (Result<void> written = found.file->Write(adopted.record); !written) {
      return std::unexpected(written.error());
    }
    adopted.record.sequence = found.file->last()->sequence;
  }
  [[maybe_unused]] Result<void> labelled = (*group)->SetLabel(EncodeRecord(adopted.record));
  adopted.group = *std::move(group);
  adopted.file = std::move(found.file);
  return adopted;
}

}  // namespace mete::agent
