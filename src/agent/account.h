// The account that an agent is charged to: one in the memory of this process, or a stored one,
// whose owner may be another process.
//
// What has to be asked of another process may fail at any time. So what cannot be refused (reading,
// abandoning) answers with what is known, and what records something says whether it did.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/clock.h"
#include "mete/error.h"
#include "mete/resource_manager.h"

namespace mete::agent {

inline constexpr std::string_view kMemoryLedger = "memory";

constexpr bool IsOfStore(EventKind kind) {
  return kind == EventKind::kStoreUnavailable || kind == EventKind::kStoreRecovered;
}

class Account {
 public:
  virtual ~Account() = default;

  virtual const TargetName& target() const = 0;

  // As the functions of a ResourceManager for this target.
  virtual Result<Receipt> Report(const Amounts& amounts, const ReportOptions& options) = 0;
  virtual Result<HoldId> Reserve(const Amounts& amounts, const ReserveOptions& options) = 0;
  virtual Result<Settlement> Settle(HoldId hold, const Amounts& actual) = 0;
  virtual Result<void> Release(HoldId hold) = 0;
  virtual void Abandon(HoldId hold) = 0;
  virtual Result<void> SetLimits(const ResourceLimits& limits) = 0;
  virtual Result<void> Reset() = 0;
  virtual Result<void> Suspend() = 0;
  virtual Result<void> Resume(bool override_causes) = 0;
  virtual Result<void> ClearThrottle() = 0;

  virtual ResourceQuota Quota() = 0;
  virtual ResourceUsage Totals() = 0;
  // What the target is below, the nearest first, as it is now. Fails while nobody keeps it.
  virtual Result<std::vector<ResourceQuota>> Above() = 0;
  // What happened to this target since the last call, and to where it is kept.
  virtual std::vector<Event> TakeEvents() = 0;

  // To be called when it is due, or when Fd() polls readable (-1: there is none).
  virtual std::optional<Time> NextDeadline() const = 0;
  virtual void Advance() = 0;
  virtual int Fd() const { return -1; }

  // Whoever keeps it does not answer any more: nothing that changes something will succeed.
  virtual bool is_gone() const { return false; }

  // The agent has ended: its levels are given back, and everything is where it is kept. Events that
  // TakeEvents gives afterwards are the last ones.
  virtual Result<void> Close() = 0;

  // Where it is kept: kMemoryLedger, or the folder of the state.
  virtual const std::string& ledger() const = 0;
};

// What mete measures from outside, so that a report of it is not counted (rule 15).
inline constexpr ResourceSet kMeasured = {Resource::kCpu, Resource::kMemory};

// An account of its own, new and in memory: nothing is limited but what `limits` says. A rate of
// CPU is the kernel's. The id is one that a quota can have.
std::unique_ptr<Account> NewAccount(std::string_view id, const ResourceLimits& limits,
                                    const PolicySet& policies, const Clock& clock);

// One of a manager that others use too: its thread is started, which sees to what is due and makes
// Fd() readable when something has happened. Attaches it (E2070: there is none of that name).
// `ledger`: see Account. REQUIRES: a manager that was not started.
Result<std::unique_ptr<Account>> AttachShared(std::shared_ptr<ResourceManager> manager,
                                              const TargetName& target, bool cpu_held,
                                              std::string ledger);

}  // namespace mete::agent
