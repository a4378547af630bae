#include "quota/rate_limit.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace mete {
namespace {
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
}  // namespace

RateLimit::RateLimit(std::int64_t limit, Duration period, Time now)
    : limit_(limit), period_(period.count()), drained_at_(now) {
  METE_CHECK(limit >= 0);
  METE_CHECK(period_ > 0);
}

RateLimit::Ticks RateLimit::TicksOf(std::int64_t count) const {
  METE_CHECK(count >= 0);
  return static_cast<Ticks>(count) * static_cast<Ticks>(period_);
}

void RateLimit::Drain(Time now) {
  if (now <= drained_at_) return;
  const auto elapsed = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                       static_cast<std::uint64_t>(drained_at_.time_since_epoch().count());
  gone_ += std::min(content(), static_cast<Ticks>(elapsed) * static_cast<Ticks>(limit_));
  drained_at_ = now;
}

Duration RateLimit::TimeUntil(std::int64_t level, Time now) {
  Drain(now);
  const Ticks allowed = TicksOf(level);
  if (content() <= allowed) return Duration(0);
  if (limit_ == 0) return kNever;
  const Ticks excess = content() - allowed;
  const auto rate = static_cast<Ticks>(limit_);
  const Ticks wait = (excess + rate - 1) / rate;
  return Duration(static_cast<std::int64_t>(std::min(wait, static_cast<Ticks>(kMax))));
}

std::expected<RateLimit::Slot, Duration> RateLimit::TryReserve(std::int64_t count, Time now) {
  Drain(now);
  if (count > limit_) return std::unexpected(kNever);
  if (count > 0) {
    const Duration wait = TimeUntil(limit_ - count, now);
    if (wait > Duration(0)) return std::unexpected(wait);
  }
  added_ += TicksOf(count);
  return Slot{count, added_};
}

bool RateLimit::Fits(std::int64_t count, Time now) {
  Drain(now);
  return content() <= TicksOf(kMax) - TicksOf(count);
}

void RateLimit::Report(std::int64_t count, Time now) {
  METE_CHECK(Fits(count, now));
  added_ += TicksOf(count);
}

void RateLimit::GiveBack(const Slot& slot, std::int64_t count, Time now) {
  METE_CHECK(count <= slot.count);
  Drain(now);
  // A slot that is spent lies behind gone_; the difference then wraps to a huge value.
  const Ticks left = slot.end - gone_;
  if (left > content()) return;
  gone_ += std::min(left, TicksOf(count));
}

void RateLimit::SetLimit(std::int64_t limit, Time now) {
  METE_CHECK(limit >= 0);
  Drain(now);
  limit_ = limit;
}

void RateLimit::Reset(Time now) {
  Drain(now);
  gone_ = added_;
}

std::int64_t RateLimit::Used(Time now) {
  Drain(now);
  const auto period = static_cast<Ticks>(period_);
  return static_cast<std::int64_t>((content() + period - 1) / period);
}

}  // namespace mete
