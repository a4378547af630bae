// A host for tests of what stands on agent::Host: real processes, scripted meters, no privileges.
//
// Processes are real: a child that joins is really stopped, signalled and killed, with everything
// it starts, also after setsid and double forks. Members are known by a mark that fork and exec
// pass on: the soft limit RLIMIT_RSS, which Linux does nothing with. What a group uses is what the
// test says; no limit is held.
//
// Some things differ from the kernel: the events descriptor also becomes readable when a process
// joins, and that of a tenant or session tells of what was below it when it was last drained; a
// process that joins a frozen group runs on until the next Freeze; and a group of a tenant or
// session uses what the groups below it use now, without what removed ones used.
//
// The host must outlive its groups.
//
// Thread safety: the host may be used from any thread, also while a runner uses its groups.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/host.h"

namespace mete::cgroup {

enum class FakeCall {
  kCreate,
  kSetLimits,
  kSetCpuRate,
  kSetLabel,
  kAdopt,
  kJoinSelf,
  kRead,
  kFreeze,
  kThaw,
  kSignal,
  kKill,
  kRemove,
  kWatchPressure
};

struct FakeState;  // one group, shared by the host and the handle

class FakeHost final : public agent::Host {
 public:
  FakeHost();
  ~FakeHost() override;  // kills what is left in any group

  agent::Capabilities Probe() override { return capabilities; }
  agent::Capabilities Look() override { return capabilities; }
  Result<std::unique_ptr<agent::Group>> Create(std::string_view name,
                                               const agent::KernelLimits& limits) override;
  // Also in a fork of the process that made the group: by the processes that are in it.
  Result<std::unique_ptr<agent::Group>> Find(std::string_view name) override;
  std::optional<std::string> GroupOf(pid_t pid) override;
  Result<std::vector<agent::FoundGroup>> Scan() override;

  // --- the test's side ---

  // What Look and Probe answer: everything held by the kernel, unless the test changes it.
  agent::Capabilities capabilities;

  // Called at each Read with populated, frozen and pids filled in; sets what the group uses. The
  // peak follows the memory by itself. Set before the first Create; called with no lock held.
  std::function<void(std::string_view name, agent::Sample& sample)> meter;

  // The next `times` calls of this kind, on any group, fail with the error and do nothing else.
  // kJoinSelf fails with EPERM, and until told otherwise: a child cannot count down.
  void FailNext(FakeCall call, Error error, int times = 1);

  bool Exists(std::string_view name) const;
  // While it exists; of a tenant or session, once they were set.
  std::optional<agent::KernelLimits> LimitsOf(std::string_view name) const;
  std::optional<std::int64_t> CpuRateOf(std::string_view name) const;

  // What was called on groups of this name since the start, in order: "Create", "Freeze", ..
  // Not in it: JoinSelf, Read, Remove of what is gone, and what only looks.
  std::vector<std::string> CallsOn(std::string_view name) const;

  // Makes the events descriptor readable.
  void Announce(std::string_view name);
  // Makes the descriptors readable that WatchPressure gave for this.
  void AnnouncePressure(std::string_view name, agent::Pressure what);

  // Kills every process of the group and counts it, as the kernel does at the memory limit.
  void KillForMemory(std::string_view name);

 private:
  friend class FakeGroup;
  std::optional<Error> TakeFailure(FakeCall call);
  void Log(std::string_view name, const char* call);
  std::shared_ptr<FakeState> StateNamed(std::string_view name) const;
  std::uint64_t MarkOfName(std::string_view name) const;
  Result<std::shared_ptr<FakeState>> NewState(std::string_view name) const;
  // The group itself, or all groups of agents in that of a tenant or session.
  std::vector<std::shared_ptr<FakeState>> LeavesIn(const std::shared_ptr<FakeState>& group) const;
  bool IsFrozen(std::string_view name) const;  // by its own freeze or one above. REQUIRES: mutex_
  bool HasGroupsIn(std::string_view name) const;  // REQUIRES: mutex_

  const std::uint64_t seed_;  // the same in every fork
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<FakeState>, std::less<>> groups_;
  std::map<std::string, std::vector<std::string>, std::less<>> calls_;
  std::map<FakeCall, std::pair<int, Error>> failures_;
};

}  // namespace mete::cgroup
