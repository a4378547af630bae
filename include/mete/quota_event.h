// What happens to quotas, as a sequence that anyone may follow.
//
// Events are edges: one for each crossing, transition or change (rule 9). They are numbered in the
// order in which they were recorded, which within one tenant is the order of its steps (rule 18).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/clock.h"
#include "mete/quota.h"

namespace mete {

enum class EventKind : std::uint8_t {
  kCreated,
  kUpdated,       // a limit was changed to `amount`
  kThreshold,     // a share of the limit was reached
  kViolation,     // more is used than the limit
  kWarned,        // the policy's warning; also to every agent below the account
  kThrottled,     // a limit became a cause of its throttling
  kSuspended,     // a limit, or an operator, became a cause of its suspension
  kResumed,       // the last cause of suspension, or of throttling, went away: this one
  kTerminated,    // a limit, or an operator, asks for its end
  kActionFailed,  // an action could not be carried out; it is tried again
  kReset,
  kWindowRolled,      // `amount` was used in the window that ended
  kSettledAboveHold,  // `amount` more was used than had been reserved
  kRemoved,
  kUsage,             // the regular record of a target whose usage changed; not kept by a store
  kStoreUnavailable,  // of no target: the store cannot be written, and why; usage goes on counting
  kStoreRecovered,    // everything is on disk again
};
std::string_view NameOf(EventKind kind) noexcept;  // "window_rolled"
std::optional<EventKind> FindEventKind(std::string_view name) noexcept;

struct Event {
  std::uint64_t sequence = 0;  // from 1; over a restart some records of usage are missing
  EventKind kind = EventKind::kCreated;
  Time time{};  // of the boot in which it happened
  WallTime wall_time{};
  TargetName target{};   // what it happened to
  TargetName account{};  // whose limit it is about: the target, or what is above it
  // Of `account`; unset: no limit has to do with it, or it was an operator.
  std::optional<LimitKind> limit = std::nullopt;
  int percent = 0;           // kThreshold
  std::int64_t used = 0;     // of `account` against the limit, base units
  std::int64_t amount = 0;   // the limit, unless the kind says otherwise
  std::int64_t windows = 0;  // kWindowRolled: how many boundaries were passed
  std::string detail{};      // kActionFailed: what failed, and why
  ResourceUsage usage{};     // kUsage: of the main window; kRemoved: of the lifetime
};

// One reader's place in the sequence. Taking never blocks those who charge; a reader that falls
// behind by more than the manager keeps is told how many events it missed, and goes on behind them.
//
// Thread safety: one thread at a time. Outlives the manager harmlessly, and then finds nothing.
class EventReader {
 public:
  struct Batch {
    std::uint64_t missed = 0;  // events before the first of these that were not kept
    std::vector<Event> events;
  };

  // At most `most`, oldest first; none if there are none.
  Batch Take(std::size_t most = 1024);

  // Waits until there is something to take, or the time is over: false.
  bool Wait(Duration timeout);

  // The number of the event that it gives next, if that is kept; the ones before it were given.
  std::uint64_t next() const noexcept { return next_; }

 private:
  friend class ResourceManager;
  friend class EventLog;
  EventReader(std::shared_ptr<class EventLog> log, std::uint64_t next);

  std::shared_ptr<class EventLog> log_;
  std::uint64_t next_;
};

}  // namespace mete
