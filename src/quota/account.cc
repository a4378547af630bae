#include "quota/account.h"

#include <algorithm>

#include "base/check.h"
#include "quota/account_state.h"

namespace mete {
inline namespace single {

Account::Account(AccountConfig config, Time now)
    : config_(std::move(config)), state_(std::make_unique<State>(config_, now)) {}

Account::~Account() = default;

Result<Receipt> Account::Report(const Amounts& amounts, Source source, Time now) {
  if (auto good = state_->CheckSigns(amounts); !good) return std::unexpected(good.error());
  now = state_->Step(now);
  if (auto good = state_->CheckSums(amounts, nullptr, now); !good) {
    return std::unexpected(good.error());
  }
  const Duration grace =
      source == Source::kReported ? config_.soft_grace_reported : config_.soft_grace_sampled;
  const Wants before = state_->wants();
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (!amounts[resource]) continue;
    const std::int64_t amount = *amounts[resource];
    state_->ForEachLineOf(resource, [&](State::Line& line) {
      line.meter.Record(amount, now);
      // Nothing used is no charge; a level that stays above its limit is one each time it is seen.
      state_->Look(line, amount > 0, grace, now);
    });
    state_->CountLifetime(resource, amount);
  }
  return state_->MakeReceipt(amounts, before, now);
}

// Limits, resets, the operator

Result<void> Account::SetLimits(const ResourceLimits& limits, Time now) {
  for (const LimitInfo& info : AllLimits()) {
    if (limits[info.kind] && limits[info.kind]->amount < 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  std::string(info.name) + ": a negative limit; allowed: 0 and more, given " +
                      std::to_string(limits[info.kind]->amount));
    }
  }
  now = state_->Step(now);
  for (const LimitInfo& info : AllLimits()) {
    if (!limits[info.kind]) continue;
    config_.limits[info.kind] = limits[info.kind];
    const std::int64_t amount = limits[info.kind]->amount;
    std::optional<State::Line>& line = state_->lines[Index(info.kind)];
    if (!line) {
      state_->Emit(EventKind::kUpdated, nullptr, amount, now);
      state_->events.back().limit = info.kind;
      continue;
    }
    const bool raised = amount > line->meter.limit();
    line->meter.SetLimit(amount, now);
    state_->Emit(EventKind::kUpdated, &*line, amount, now);
    if (raised) {
      line->policy.acted = line->policy.lifted = false;
      state_->EndCause(*line, now);
    }
    state_->Look(*line, true, config_.soft_grace_reported, now);
  }
  return {};
}

void Account::Reset(Time now) {
  now = state_->Step(now);
  state_->Emit(EventKind::kReset, nullptr, 0, now);
  state_->ForEachLine([&](State::Line& line) {
    line.meter.Reset(now);
    line.policy = {};
    state_->EndCause(line, now);
  });
}

void Account::Suspend(Time now) {
  now = state_->Step(now);
  if (std::exchange(state_->operator_suspended, true)) return;
  state_->Emit(EventKind::kSuspended, nullptr, 0, now);
}

Result<void> Account::Resume(bool override_causes, Time now) {
  now = state_->Step(now);
  // The operator's cause goes last, so that one event says that the target is free.
  if (override_causes) {
    state_->ForEachLine([&](State::Line& line) {
      if (!line.cause) return;
      line.policy.lifted = true;
      state_->EndCause(line, now);
    });
  }
  const bool by_operator = std::exchange(state_->operator_suspended, false);
  std::string left;
  state_->ForEachLine([&](State::Line& line) {
    if (line.cause != QuotaAction::kSuspend) return;
    left += (left.empty() ? "" : ", ") + std::string(line.meter.info().name);
  });
  if (!left.empty()) {
    return Fail(ErrorCode::kLimitExceeded,
                "still suspended; raise or reset the limit, or override: " + left);
  }
  if (by_operator) state_->Emit(EventKind::kResumed, nullptr, 0, now);
  return {};
}

void Account::Advance(Time now) { state_->Step(now); }

std::optional<Time> Account::NextDeadline() const {
  std::optional<Time> next;
  state_->ForEachLine([&](State::Line& line) {
    if (!config_.limits[line.kind()]) return;
    const std::optional<Time> change = line.meter.NextChange(state_->now);
    if (change && (!next || *change < *next)) next = change;
  });
  return next;
}

Wants Account::wants() const { return state_->wants(); }

std::vector<Cause> Account::causes() const {
  std::vector<Cause> causes;
  if (state_->operator_suspended) causes.push_back(std::nullopt);
  state_->ForEachLine([&](State::Line& line) {
    if (line.cause) causes.push_back(line.kind());
  });
  return causes;
}

std::vector<LimitUsage> Account::usage() const {
  std::vector<LimitUsage> all;
  for (const LimitInfo& info : AllLimits()) {
    if (config_.limits[info.kind]) all.push_back(state_->UsageOf(info.kind));
  }
  return all;
}

std::int64_t Account::lifetime(Resource resource) const {
  return state_->lifetime[Index(resource)];
}

std::int64_t Account::peak(Resource resource) const {
  std::int64_t peak = 0;
  state_->ForEachLineOf(resource, [&](State::Line& line) {
    if (IsLevel(line.meter.info())) peak = line.meter.peak();
  });
  return peak;
}

std::vector<Event> Account::TakeEvents() { return std::exchange(state_->events, {}); }

}  // namespace single
}  // namespace mete
