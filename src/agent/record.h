// What is written down about one agent, so that whoever comes after its owner knows what to do.
//
// A value and its text: lines "key value" under a first line that holds the version, a number that
// grows with each writing, the length, and a checksum. What is torn or of another version is no
// record; a line with an unknown key is skipped, so that an older mete reads what a newer one wrote
// under the same version.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/host.h"
#include "agent/process.h"
#include "mete/clock.h"
#include "mete/error.h"
#include "mete/quota.h"
#include "mete/resource_manager.h"

namespace mete::agent {

// What was last intended; written before it is done.
enum class Phase : std::uint8_t {
  kStarting,   // the group may be there, the program is not
  kRunning,    // started, or thawed
  kSuspended,  // frozen, or about to be
  kEnding,     // asked to end, or about to be killed: nobody stops that any more
};
std::string_view NameOf(Phase phase) noexcept;  // "suspended"

// What becomes of an agent when its owner is gone and its lease is over.
enum class OrphanPolicy : std::uint8_t {
  kEnd,   // kill it and remove its group
  kThaw,  // let it run on in its limits
};
std::string_view NameOf(OrphanPolicy policy) noexcept;  // "end"

struct AgentRecord {
  std::string id;
  std::string group;            // as Host::Find knows it
  std::uint64_t group_id = 0;   // its inode, which another of that name has not; 0: not made yet
  std::string boot;             // Clock::BootId() of the boot that the rest is of
  std::uint64_t pid_space = 0;  // of the numbers below: the inode of /proc/self/ns/pid
  ProcessId owner;              // holds the record's lock while it lives
  ProcessId leader;             // the main process; none before it is started
  Phase phase = Phase::kStarting;
  OrphanPolicy orphan = OrphanPolicy::kEnd;
  std::optional<Time> lease_end;  // until then the agent is kept as it is; unset: no lease
  KernelLimits kernel;
  std::optional<std::int64_t> cpu_rate;             // throttled to it, in nanocores
  std::array<std::string, kLimitKindCount> limits;  // as entered; empty: none
  std::vector<Cause> causes;
  ResourceUsage counters;      // when it was written
  std::uint64_t sequence = 0;  // how often it was written

  bool operator==(const AgentRecord&) const = default;
};

std::string EncodeRecord(const AgentRecord& record);

// kInvalidArgument says what is wrong with it. What follows the record is not looked at.
Result<AgentRecord> DecodeRecord(std::string_view text);

}  // namespace mete::agent
