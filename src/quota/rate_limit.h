// So many per period, spread evenly, with a burst of the limit (rule 16): the generic cell rate
// algorithm (ITU-T I.371) in its leaky-bucket form, in exact integers.
//
// Each request fills the bucket by one; it drains by `limit` per period, continuously; a
// reservation fits while the bucket then holds at most `limit`. To keep fractions exact, the
// content is counted in ticks: a request is as many ticks as the period has nanoseconds, and
// `limit` ticks drain each nanosecond. So 7 per minute, whose interval is no whole number of
// nanoseconds, never drifts.
//
// Invariant: 0 <= added_ - gone_ <= INT64_MAX * period, so products stay below 2^127.
// A time before the last one seen counts as the last one.
#pragma once

#include <cstdint>
#include <expected>

#include "mete/clock.h"

namespace mete {

class RateLimit {
 public:
  // What a reservation put into the bucket, for giving it back.
  struct Slot {
    std::int64_t count = 0;
    __extension__ unsigned __int128 end = 0;
  };

  // The wait for what can never fit: more at once than the limit.
  static constexpr Duration kNever = Duration::max();

  // REQUIRES: limit >= 0, period > 0.
  RateLimit(std::int64_t limit, Duration period, Time now);

  // Admits `count`, or changes nothing and answers the exact time after which it would fit if
  // nothing else came. REQUIRES: count >= 0.
  std::expected<Slot, Duration> TryReserve(std::int64_t count, Time now);

  // Whether the content could take `count` more: it holds at most INT64_MAX requests.
  bool Fits(std::int64_t count, Time now);

  // Counts what already happened, over the limit too. REQUIRES: count >= 0, and it Fits.
  void Report(std::int64_t count, Time now);

  // Takes back the last `count` requests of a reservation as far as they have not drained; what has
  // drained is spent. Never makes room that the requests truly made would not have left.
  void GiveBack(const Slot& slot, std::int64_t count, Time now);

  // Keeps the content; from now on it drains at the new rate.
  void SetLimit(std::int64_t limit, Time now);
  void Reset(Time now);

  std::int64_t limit() const { return limit_; }

  // Requests in the bucket, parts counted as whole: above the limit exactly when the content is.
  std::int64_t Used(Time now);

  // All that it is but for its limit, to be kept and put back.
  struct Content {
    __extension__ unsigned __int128 added = 0, gone = 0;
    Time drained_at{};
  };
  Content content_at_rest() const { return {added_, gone_, drained_at_}; }
  void Restore(const Content& content) {
    added_ = content.added, gone_ = content.gone, drained_at_ = content.drained_at;
  }

  // How long until the content is at most `level` by draining alone: zero if it is; kNever at a
  // limit of 0.
  Duration TimeUntil(std::int64_t level, Time now);

 private:
  __extension__ using Ticks = unsigned __int128;

  void Drain(Time now);
  Ticks content() const { return added_ - gone_; }
  Ticks TicksOf(std::int64_t count) const;

  std::int64_t limit_;
  std::int64_t period_;
  Time drained_at_;
  // Both only grow (modulo 2^128); a slot ends at a value of added_ and is spent once gone_ gets
  // there.
  Ticks added_ = 0;
  Ticks gone_ = 0;
};

}  // namespace mete
