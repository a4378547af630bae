// What happened to an agent, for people and for the report: each violation with what was done about
// it, and one line of text for each action.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mete/clock.h"
#include "mete/error.h"
#include "mete/quota.h"
#include "mete/quota_event.h"

namespace mete::agent {

struct ActionTaken {
  std::string_view what;  // "warned", "throttled", "suspended", "resumed", "terminated", "killed"
  Time time;
};

struct Violation {
  LimitKind limit;
  std::int64_t amount = 0;  // of the limit
  std::int64_t used = 0;    // when it began
  Time time;
  std::vector<ActionTaken> actions;  // in the order of their times
};

class History {
 public:
  // Files the events of the quota; the warnings among them become notices. What policies only ask
  // for (suspending, ending) is told by whoever does it.
  void Add(const std::vector<Event>& events);

  void AddViolation(LimitKind limit, std::int64_t used, std::int64_t amount, Time time);

  // Notes it under the latest violation of the limit. Without one it is kept for the first: a
  // violation of a stored account is told when it is on disk, and is acted upon before.
  void AddAction(LimitKind limit, std::string_view what, Time time);

  // Notes "resumed" under each violation whose last action was to suspend.
  void AddResumed(Time time);

  void AddNotice(std::string text) { notices_.push_back(std::move(text)); }

  // The lines since the last call, in order.
  std::vector<std::string> TakeNotices() { return std::exchange(notices_, {}); }

  const std::vector<Violation>& violations() const { return violations_; }
  // Violations that were not kept, because a long run had too many.
  std::int64_t dropped() const { return dropped_; }

  // Why the account could not be written at the end, if it could not.
  void NoteUnwritten(Error why) { unwritten_ = std::move(why); }
  const std::optional<Error>& unwritten() const { return unwritten_; }

 private:
  std::vector<Violation> violations_;
  std::vector<std::pair<LimitKind, ActionTaken>> early_;  // actions without a violation so far
  std::vector<std::string> notices_;
  std::optional<Error> unwritten_;
  std::int64_t dropped_ = 0;
};

// "64 MiB", "0.25 s", "1300": an amount of what the limit counts.
std::string AmountText(LimitKind kind, std::int64_t amount);

// "1300 of 1000 used".
std::string UsedOfText(LimitKind kind, std::int64_t used, std::int64_t amount);

// The command that gives an agent twice what it used or was allowed.
std::string RaiseCommand(std::string_view id, LimitKind kind, std::int64_t used,
                         std::int64_t amount);

}  // namespace mete::agent
