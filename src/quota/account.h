// The budgets of one target and what its policies want done: pure bookkeeping over budgets and
// windows, with the time given in. It acts on nothing; whoever owns the target compares
// `wants()` with what is, and acts.
//
// Synchronisation: none. The owner calls from one thread or under its own lock.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mete/budget.h"
#include "mete/clock.h"
#include "mete/error.h"
#include "mete/quota.h"

namespace mete {

// Amounts in base units: nanoseconds, bytes, counts, nano-units of money. Unset: not named, so not
// looked at (rule 9).
struct Amounts {
  std::array<std::optional<std::int64_t>, kResourceCount> by_resource;

  std::optional<std::int64_t>& operator[](Resource r) { return by_resource[static_cast<std::size_t>(r)]; }
  const std::optional<std::int64_t>& operator[](Resource r) const {
    return by_resource[static_cast<std::size_t>(r)];
  }
};

// Reported by the target itself, or sampled by mete from outside: they differ in the grace that a
// soft limit gives (rule 10).
enum class Source : std::uint8_t { kReported, kSampled };

enum class EventKind : std::uint8_t {
  kThreshold, kViolation, kWarned, kThrottled, kSuspended, kResumed, kTerminated, kReset,
  kWindowRolled, kUpdated, kSettledAboveHold,
};
std::string_view NameOf(EventKind kind) noexcept;  // "threshold"

struct Event {
  EventKind kind = EventKind::kThreshold;
  Time time;
  std::optional<LimitKind> limit;
  int percent = 0;          // kThreshold: the threshold
  std::int64_t used = 0;    // base units, at the time
  std::int64_t amount = 0;  // the limit, or what was rolled away or settled
  std::int64_t windows = 0; // kWindowRolled: how many boundaries were passed
};

// Why a target is held back: a limit, or the operator (unset).
using Cause = std::optional<LimitKind>;

// What the policies want now. Level-triggered: the owner of the target brings it about.
struct Wants {
  bool suspend = false;
  bool throttle = false;
  std::optional<LimitKind> terminate;  // set once and kept: the limit that asks for the end
};

struct LimitUsage {
  LimitKind kind;
  Limit limit;
  std::int64_t used = 0;
  std::int64_t held = 0;
  std::int64_t peak = 0;            // levels
  std::optional<Time> reset_at;     // windows
  bool violated = false;
};

struct Receipt {
  Amounts recorded;                 // what was counted
  std::vector<LimitUsage> limits;   // of the resources that the report named
  bool suspended = false;           // as the policies want it now
  bool throttled = false;
  bool action_pending = false;      // this report made the policies want something new
  Duration retry_after{0};          // rate limits: when the next request fits
};

struct AccountConfig {
  QuotaScope scope = QuotaScope::kAgent;
  std::string id;
  ResourceLimits limits;
  PolicySet policies;
  std::vector<int> thresholds = {80, 95};  // per cent, rising, 1..99
  Duration soft_grace_reported{0};
  Duration soft_grace_sampled = std::chrono::seconds(5);
  Duration main_window = std::chrono::hours(1);  // replaces the hourly windows' length
};

class Account {
 public:
  Account(AccountConfig config, Time now);
  ~Account();
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // Records what happened; never refused for a limit (rule 3). Flows are added, levels are set to
  // the amount (rule 13). E2071: a negative amount, or a sum that overflows; nothing is recorded.
  Result<Receipt> Report(const Amounts& amounts, Source source, Time now);

  // All or nothing over the named resources; E2072 names the limit that refused, E2077 the time.
  using HoldId = std::uint64_t;
  Result<HoldId> Reserve(const Amounts& amounts, Time now);
  // Settles with what was really used; what is above the hold counts as a report and the receipt
  // says so through `recorded`. A second settle answers the first receipt; E2070: unknown.
  Result<Receipt> Settle(HoldId hold, const Amounts& actual, Time now);
  Result<void> Release(HoldId hold, Time now);

  // Set entries change, nullopt entries stay (rule 11). Returns nothing changed on error.
  Result<void> SetLimits(const ResourceLimits& limits, Time now);
  void Reset(Time now);  // rule 8

  void Suspend(Time now);           // by the operator: adds that cause
  // Removes the operator's cause; with others left answers E2072 and names them, unless
  // `override_causes`, which lifts them until the next window or raise (rule 12).
  Result<void> Resume(bool override_causes, Time now);

  // Rolls the windows that ended; to be called at NextDeadline() and before reading.
  void Advance(Time now);
  std::optional<Time> NextDeadline() const;

  Wants wants() const;
  std::vector<Cause> causes() const;
  std::vector<LimitUsage> usage() const;              // every limit that is set
  std::int64_t lifetime(Resource resource) const;     // rule 8: reset leaves it
  std::int64_t peak(Resource resource) const;
  std::vector<Event> TakeEvents();                    // in order, each once
  const AccountConfig& config() const { return config_; }

 private:
  struct State;
  AccountConfig config_;
  std::unique_ptr<State> state_;
};

}  // namespace mete
