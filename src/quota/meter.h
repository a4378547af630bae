// One limit of one account, as far as it counts: a leaf budget with the window that rolls it, or
// the rate that drains it. What follows from the count is the account's.
//
//   counting   the budget is   used                           a reservation
//   kLevel     a level         what is held now               is held
//   kWindow    a flow          what the window has seen       is held
//   kRate      a level         what has not drained yet       is used at once (GCRA)
//
// The budget of a rate follows the rate at each call, so that its edges and violations are those of
// any other limit.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "mete/budget.h"
#include "mete/clock.h"
#include "mete/quota.h"
#include "quota/rate_limit.h"
#include "quota/window.h"

namespace mete {

// What one meter set aside for a hold of the account.
struct Share {
  std::int64_t amount = 0;
  Hold hold;             // levels and windows
  RateLimit::Slot slot;  // rates
};

// Why a meter set nothing aside.
struct MeterRefusal {
  Refusal::Reason reason = Refusal::Reason::kLimit;
  std::optional<Duration> wait;  // rates: how long until it would fit
};

class Meter {
 public:
  struct Ended {
    std::int64_t windows = 0;  // boundaries passed
    std::int64_t rolled = 0;   // what the ended window had seen
  };

  // `length`: of the window, or the period of the rate. REQUIRES: not kCores.
  Meter(const LimitInfo& info, std::int64_t limit, Duration length, Thresholds thresholds,
        Time now);

  const LimitInfo& info() const { return info_; }
  std::int64_t limit() const { return budget_.limit(); }
  std::int64_t used() const { return budget_.used(); }
  std::int64_t held() const { return budget_.held(); }
  std::int64_t peak() const { return budget_.peak(); }
  bool IsOver() const { return budget_.IsOver(); }
  std::optional<Time> reset_at() const;
  int percent(std::size_t threshold) const { return budget_.thresholds().percents()[threshold]; }

  // Whether Record, or Settle, could count the amount without passing INT64_MAX.
  bool Fits(std::int64_t amount, Time now);
  bool FitsInstead(const Share& share, std::int64_t actual, Time now);

  // Adds to a flow; sets a level. REQUIRES: Fits.
  void Record(std::int64_t amount, Time now);

  std::expected<Share, MeterRefusal> TryReserve(std::int64_t amount, Time now);
  // Uses `actual` instead of the share, which ends. REQUIRES: FitsInstead.
  void Settle(Share& share, std::int64_t actual, Time now);
  void Release(Share& share, Time now) { Settle(share, 0, now); }

  // Ends what ended by `now`, and lets a rate drain.
  Ended Advance(Time now);
  // When Advance has something to do that could end a violation, or roll the window.
  std::optional<Time> NextChange(Time now);

  void SetLimit(std::int64_t limit, Time now);
  // A new window begins now, a rate is empty, a peak restarts at the level.
  void Reset(Time now);

  // How long until one more request fits; rates only.
  Duration UntilNext(Time now);

  Edges TakeEdges() { return budget_.TakeEdges(); }

 private:
  void Charge(std::int64_t amount);
  void SetLevel(std::int64_t level);

  const LimitInfo& info_;
  Budget budget_;
  std::optional<Window> window_;
  std::optional<RateLimit> rate_;
};

}  // namespace mete
