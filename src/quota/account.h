// The budgets of one target and what its policies want done: pure bookkeeping over budgets and
// windows, with the time given in. It acts on nothing; whoever owns the target compares
// `wants()` with what is, and acts.
//
// Each limit that is not set is unlimited, and counts all the same: one that is set later finds
// what its window has seen. A rate (`requests_per_minute`) is a level that drains by itself.
//
// Every call is given the time and first ends what ended by then (Advance); a time before the last
// one counts as the last one. Synchronisation: none. The owner calls from one thread or under its
// own lock.
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
inline namespace single {

// Amounts in base units: nanoseconds, bytes, counts, nano-units of money. Unset: not named, so not
// looked at (rule 9).
struct Amounts {
  std::array<std::optional<std::int64_t>, kResourceCount> by_resource;

  std::optional<std::int64_t>& operator[](Resource r) {
    return by_resource[static_cast<std::size_t>(r)];
  }
  const std::optional<std::int64_t>& operator[](Resource r) const {
    return by_resource[static_cast<std::size_t>(r)];
  }
};

// Reported by the target itself, or sampled by mete from outside: they differ in the grace that a
// soft limit gives (rule 10).
enum class Source : std::uint8_t { kReported, kSampled };

enum class EventKind : std::uint8_t {
  kThreshold,   // a share of the limit was reached
  kViolation,   // more is used than the limit
  kWarned,      // the policy's warning
  kThrottled,   // this limit became a cause of throttling
  kSuspended,   // this limit, or the operator (unset), became a cause of suspension
  kResumed,     // the last cause of suspension, or of throttling, went away: this one
  kTerminated,  // this limit asks for the end
  kReset,
  kWindowRolled,
  kUpdated,           // the limit was changed to `amount`
  kSettledAboveHold,  // more was used than was reserved
};
std::string_view NameOf(EventKind kind) noexcept;  // "threshold"

struct Event {
  EventKind kind = EventKind::kThreshold;
  Time time;
  std::optional<LimitKind> limit;
  int percent = 0;           // kThreshold: the threshold
  std::int64_t used = 0;     // base units, at the time
  std::int64_t amount = 0;   // the limit, or what was rolled away, or the excess over the hold
  std::int64_t windows = 0;  // kWindowRolled: how many boundaries were passed
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
  LimitKind kind = LimitKind::kCpu;
  Limit limit;
  std::int64_t used = 0;         // kCpu: always 0, the kernel holds the rate
  std::int64_t held = 0;         // rates: always 0, what is reserved is in `used`
  std::int64_t peak = 0;         // levels
  std::optional<Time> reset_at;  // windows
  bool violated = false;
};

struct Receipt {
  Amounts recorded;                // what was counted
  std::vector<LimitUsage> limits;  // of the resources that the report named
  bool suspended = false;          // as the policies want it now
  bool throttled = false;
  bool action_pending = false;  // this report made the policies want something new
  Amounts above_hold;           // Settle: the part of `recorded` that no hold covered
  Duration retry_after{0};      // rates: until the next request fits; 0 if none ever will
};

struct AccountConfig {
  QuotaScope scope = QuotaScope::kAgent;
  std::string id;
  ResourceLimits limits;
  PolicySet policies = DefaultPolicies();
  std::vector<int> thresholds = {80, 95};  // per cent, rising, 1..99
  Duration soft_grace_reported{0};
  Duration soft_grace_sampled = std::chrono::seconds(5);
  Duration main_window = std::chrono::hours(1);  // replaces the hourly windows' length
};

class Account {
 public:
  // REQUIRES: amounts >= 0, thresholds as said, main_window >= 1 s.
  Account(AccountConfig config, Time now);
  ~Account();
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // Records what happened; never refused for a limit (rule 3). Flows are added, levels are set to
  // the amount (rule 13). E2071: a negative amount, or a sum that overflows; nothing is recorded.
  Result<Receipt> Report(const Amounts& amounts, Source source, Time now);

  // All or nothing over the named resources; E2072 names the limit that refused, E2077 the time.
  // At most kMaxHolds are open at a time (E2072), so that an agent cannot fill the memory of mete.
  using HoldId = std::uint64_t;
  static constexpr std::size_t kMaxHolds = 4096;
  Result<HoldId> Reserve(const Amounts& amounts, Time now);
  // Settles with what was really used; what is above the hold counts as a report, and the receipt
  // says so (`above_hold`). A resource of the hold that is not named was used as reserved. A second
  // settle answers the first receipt, as long as it is one of the last kSettledKept. E2070: no such
  // hold; E2071 as with Report, and the hold stands.
  static constexpr std::size_t kSettledKept = 256;
  Result<Receipt> Settle(HoldId hold, const Amounts& actual, Time now);
  // E2070: no such hold, or it was settled or released before.
  Result<void> Release(HoldId hold, Time now);

  // Set entries change, nullopt entries stay (rule 11). E2071, and nothing is changed: a negative
  // amount.
  Result<void> SetLimits(const ResourceLimits& limits, Time now);
  void Reset(Time now);  // rule 8

  void Suspend(Time now);  // by the operator: adds that cause
  // Removes the operator's cause; with others left answers E2072 and names them, unless
  // `override_causes`, which lifts them until the next window or raise (rule 12); of a level, until
  // it has fallen 5 points below its limit. Causes of throttling are lifted too, but do not refuse.
  Result<void> Resume(bool override_causes, Time now);

  // Rolls the windows that ended; to be called at NextDeadline() and before reading.
  void Advance(Time now);
  std::optional<Time> NextDeadline() const;

  Wants wants() const;
  std::vector<Cause> causes() const;
  std::vector<LimitUsage> usage() const;           // every limit that is set
  std::int64_t lifetime(Resource resource) const;  // rule 8: reset leaves it
  std::int64_t peak(Resource resource) const;
  std::vector<Event> TakeEvents();  // in order, each once
  const AccountConfig& config() const { return config_; }

 private:
  struct State;
  AccountConfig config_;
  std::unique_ptr<State> state_;
};

}  // namespace single
}  // namespace mete
