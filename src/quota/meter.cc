#include "quota/meter.h"

#include <utility>

#include "base/check.h"

namespace mete {
namespace {

BudgetKind KindOf(Counting counting) {
  return counting == Counting::kWindow ? BudgetKind::kFlow : BudgetKind::kLevel;
}

}  // namespace

Meter::Meter(const LimitInfo& info, std::int64_t limit, Duration length, Thresholds thresholds,
             Time now)
    : info_(info), budget_(KindOf(info.counting), limit, nullptr, thresholds) {
  METE_CHECK(info.counting != Counting::kCores);
  if (info.counting == Counting::kWindow) window_.emplace(now, length);
  if (info.counting == Counting::kRate) rate_.emplace(limit, length, now);
}

std::optional<Time> Meter::reset_at() const {
  if (!window_) return std::nullopt;
  return window_->reset_at();
}

bool Meter::Fits(std::int64_t amount, Time now) {
  if (rate_) return rate_->Fits(amount, now);
  return amount <= kNoLimit - (window_ ? budget_.charged() : budget_.held());
}

bool Meter::FitsInstead(const Share& share, std::int64_t actual, Time now) {
  if (actual <= share.amount) return true;
  if (rate_) return rate_->Fits(actual - share.amount, now);
  return actual - share.amount <= kNoLimit - budget_.charged();
}

void Meter::Charge(std::int64_t amount) {
  const bool charged = budget_.Charge(amount).has_value();
  METE_CHECK(charged);
}

void Meter::SetLevel(std::int64_t level) {
  const std::int64_t used = budget_.used();
  if (level > used) Charge(level - used);
  if (level < used) budget_.Uncharge(used - level);
}

void Meter::Record(std::int64_t amount, Time now) {
  if (window_) return Charge(amount);
  if (!rate_) return SetLevel(amount);
  rate_->Report(amount, now);
  SetLevel(rate_->Used(now));
}

std::expected<Share, MeterRefusal> Meter::TryReserve(std::int64_t amount, Time now) {
  Share share{.amount = amount, .hold = {}, .slot = {}};
  if (rate_) {
    const auto slot = rate_->TryReserve(amount, now);
    if (!slot) return std::unexpected(MeterRefusal{Refusal::Reason::kLimit, slot.error()});
    share.slot = *slot;
    SetLevel(rate_->Used(now));
    return share;
  }
  auto hold = budget_.Reserve(amount);
  if (!hold) return std::unexpected(MeterRefusal{hold.error().reason, std::nullopt});
  share.hold = *std::move(hold);
  return share;
}

void Meter::Settle(Share& share, std::int64_t actual, Time now) {
  if (!rate_) {
    const bool settled = share.hold.Settle(actual).has_value();
    METE_CHECK(settled);
    return;
  }
  if (actual < share.amount) rate_->GiveBack(share.slot, share.amount - actual, now);
  if (actual > share.amount) rate_->Report(actual - share.amount, now);
  SetLevel(rate_->Used(now));
}

Meter::Ended Meter::Advance(Time now) {
  Ended ended;
  if (rate_) SetLevel(rate_->Used(now));
  if (window_) ended.windows = window_->Advance(now);
  if (ended.windows > 0) ended.rolled = budget_.Roll();
  return ended;
}

std::optional<Time> Meter::NextChange(Time now) {
  if (window_) return window_->reset_at();
  if (!rate_ || !IsOver()) return std::nullopt;
  const Duration wait = rate_->TimeUntil(limit(), now);
  const Duration left = now > Time{} ? Time::max() - now : Duration::max();
  if (wait >= left) return std::nullopt;
  return now + wait;
}

void Meter::SetLimit(std::int64_t limit, Time now) {
  if (rate_) rate_->SetLimit(limit, now), SetLevel(rate_->Used(now));
  budget_.SetLimit(limit);
}

void Meter::Reset(Time now) {
  if (rate_) rate_->Reset(now), SetLevel(0);
  if (window_) window_->Reset(now), budget_.Roll();
  budget_.ResetPeak();
}

Duration Meter::UntilNext(Time now) {
  METE_CHECK(rate_.has_value());
  if (limit() == 0) return RateLimit::kNever;
  return rate_->TimeUntil(limit() - 1, now);
}

}  // namespace mete
