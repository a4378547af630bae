// Reservations of an account: one Share per limit of each named resource, all or nothing.
#include <algorithm>

#include "base/check.h"
#include "quota/account_state.h"

namespace mete {
inline namespace single {

namespace {

std::string Show(const LimitInfo& info, std::int64_t amount) {
  return info.unit == Unit::kNano ? FormatNanoDecimal(amount) : std::to_string(amount);
}

}  // namespace

Error Account::State::Refused(const Line& line, std::int64_t asked, const MeterRefusal& refusal,
                              Time when) const {
  const LimitInfo& info = line.meter.info();
  const std::string name =
      std::string(info.name) + " of " + std::string(NameOf(config.scope)) + " " + config.id;
  const std::string numbers =
      "asked " + Show(info, asked) + ", used " + Show(info, line.meter.used()) + ", held " +
      Show(info, line.meter.held()) + ", limit " + Show(info, line.meter.limit());
  if (refusal.reason == Refusal::Reason::kOverflow) {
    return {ErrorCode::kInvalidArgument, name + ": the sum would pass 63 bits; " + numbers, {}};
  }
  Duration wait = refusal.wait.value_or(Duration(0));
  if (line.cause == QuotaAction::kThrottle && line.meter.reset_at()) {
    wait = *line.meter.reset_at() - when;
  }
  if (wait > Duration(0) && wait != RateLimit::kNever) {
    return {ErrorCode::kRateLimited,
            name + ": no room yet; " + numbers + ", retry after " + FormatDuration(wait), wait};
  }
  return {ErrorCode::kLimitExceeded, name + ": would pass the limit; " + numbers, {}};
}

// The rates come last: what they admit is used at once, and undoing that would leave a trace in
// their edges.
std::optional<Error> Account::State::ReserveShares(OpenHold& hold, Time when) {
  for (const bool rates : {false, true}) {
    for (std::optional<Line>& line : lines) {
      if (!line || (line->meter.info().counting == Counting::kRate) != rates) continue;
      const std::optional<std::int64_t>& amount = hold.reserved[line->meter.info().resource];
      if (!amount) continue;
      auto share = line->meter.TryReserve(*amount, when);
      if (!share) return Refused(*line, *amount, share.error(), when);
      hold.shares.emplace_back(&*line, *std::move(share));
    }
  }
  return std::nullopt;
}

Result<Account::HoldId> Account::Reserve(const Amounts& amounts, Time now) {
  if (auto good = state_->CheckSigns(amounts); !good) return std::unexpected(good.error());
  now = state_->Step(now);
  if (state_->holds.size() >= kMaxHolds) {
    return Fail(
        ErrorCode::kLimitExceeded,
        "holds: too many are open; settle or release some, allowed " + std::to_string(kMaxHolds));
  }
  State::OpenHold hold{.reserved = amounts, .shares = {}};
  std::optional<Error> refused = state_->ReserveShares(hold, now);
  if (refused) {
    for (auto& [line, share] : hold.shares) line->meter.Release(share, now);
    return std::unexpected(*std::move(refused));
  }
  // Only a rate uses what it admits at once, and can reach a threshold by it.
  for (auto& [line, share] : hold.shares) state_->RaiseEdges(*line, now);
  state_->holds.emplace(++state_->last_hold, std::move(hold));
  return state_->last_hold;
}

void Account::State::SettleResource(Resource resource, std::int64_t amount, std::int64_t excess,
                                    OpenHold& hold, Time when) {
  ForEachLineOf(resource, [&](Line& line) {
    const auto share = std::find_if(hold.shares.begin(), hold.shares.end(),
                                    [&](const auto& held) { return held.first == &line; });
    if (share == hold.shares.end()) {
      line.meter.Record(amount, when);
    } else {
      line.meter.Settle(share->second, amount, when);
    }
    if (excess > 0 && config.limits[line.kind()]) {
      Emit(EventKind::kSettledAboveHold, &line, excess, when);
      excess = 0;  // one event, however many limits the resource has
    }
    Look(line, amount > 0, config.soft_grace_reported, when);
  });
  CountLifetime(resource, amount);
}

Result<Receipt> Account::Settle(HoldId id, const Amounts& actual, Time now) {
  for (const auto& [settled_id, receipt] : state_->settled) {
    if (settled_id == id) return receipt;
  }
  const auto found = state_->holds.find(id);
  if (found == state_->holds.end()) {
    return Fail(ErrorCode::kNotFound, "hold: not open: " + std::to_string(id));
  }
  State::OpenHold& hold = found->second;
  if (auto good = state_->CheckSigns(actual); !good) return std::unexpected(good.error());
  now = state_->Step(now);
  Amounts used = hold.reserved;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    if (actual.by_resource[i]) used.by_resource[i] = actual.by_resource[i];
  }
  if (auto good = state_->CheckSums(used, &hold, now); !good) return std::unexpected(good.error());

  const Wants before = state_->wants();
  Amounts above;
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (!used[resource]) continue;
    const std::int64_t amount = *used[resource];
    const std::int64_t excess = amount - hold.reserved[resource].value_or(0);
    if (excess > 0) above[resource] = excess;
    state_->SettleResource(resource, amount, excess, hold, now);
  }
  state_->holds.erase(found);
  Receipt receipt = state_->MakeReceipt(used, before, now);
  receipt.above_hold = above;
  state_->settled.emplace_back(id, receipt);
  if (state_->settled.size() > kSettledKept) state_->settled.pop_front();
  return receipt;
}

Result<void> Account::Release(HoldId id, Time now) {
  now = state_->Step(now);
  const auto found = state_->holds.find(id);
  if (found == state_->holds.end()) {
    return Fail(ErrorCode::kNotFound, "hold: not open: " + std::to_string(id));
  }
  for (auto& [line, share] : found->second.shares) {
    line->meter.Release(share, now);
    state_->Look(*line, false, Duration(0), now);
  }
  state_->holds.erase(found);
  return {};
}

}  // namespace single
}  // namespace mete
