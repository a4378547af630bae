// What an account is made of; only account*.cc include this.
//
// Order of one step, which is also the order of its events: first what ended by now (windows in the
// order of their limits, then what resumed), then for each named resource, in the order of the
// enumeration, each of its limits: thresholds rising, the violation, the policy's answer.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quota/account.h"
#include "quota/meter.h"
#include "quota/policy.h"

namespace mete {
inline namespace single {

constexpr std::size_t Index(Resource resource) { return static_cast<std::size_t>(resource); }
constexpr std::size_t Index(LimitKind kind) { return static_cast<std::size_t>(kind); }
constexpr bool IsLevel(const LimitInfo& info) { return info.counting == Counting::kLevel; }

struct Account::State {
  // A limit with what its policy has done about it. kCpu has none: nothing is counted against it.
  struct Line {
    Line(const LimitInfo& info, std::int64_t limit, Duration length, Thresholds thresholds,
         Time now)
        : meter(info, limit, length, thresholds, now) {}
    LimitKind kind() const { return meter.info().kind; }

    Meter meter;
    PolicyState policy;
    std::optional<QuotaAction> cause;  // kThrottle or kSuspend, while it holds the target back
  };

  struct OpenHold {
    Amounts reserved;
    std::vector<std::pair<Line*, Share>> shares;
  };

  State(AccountConfig& config, Time now);

  // The time of this step: never before the last one.
  Time Step(Time now);
  void Advance(Time now);

  // Which named amount is negative, or would overflow; nothing is changed.
  Result<void> CheckSigns(const Amounts& amounts) const;
  Result<void> CheckSums(const Amounts& amounts, const OpenHold* hold, Time now);

  // Counts an amount in the lifetime total, once the meters have it.
  void CountLifetime(Resource resource, std::int64_t amount);
  // Looks at one limit after something was charged to it, or it was changed. `violating`: whether
  // what happened is a charge that the policy answers if more is used than the limit.
  void Look(Line& line, bool violating, Duration grace, Time now);
  void RaiseEdges(Line& line, Time now);
  void Act(Line& line, Time now);
  void EndCause(Line& line, Time now);
  bool HasCause(QuotaAction action) const;
  Wants wants() const;

  void Emit(EventKind kind, const Line* line, std::int64_t amount, Time now);

  LimitUsage UsageOf(LimitKind kind) const;
  Receipt MakeReceipt(const Amounts& recorded, const Wants& before, Time now);

  // Shares of every named limit, or why there is none; then those made so far are to be released.
  std::optional<Error> ReserveShares(OpenHold& hold, Time now);
  void SettleResource(Resource resource, std::int64_t amount, std::int64_t excess, OpenHold& hold,
                      Time now);
  Error Refused(const Line& line, std::int64_t asked, const MeterRefusal& refusal, Time now) const;

  template <class Function>
  void ForEachLine(Function&& function) {
    for (auto& line : lines) {
      if (line) function(*line);
    }
  }
  template <class Function>
  void ForEachLineOf(Resource resource, Function&& function) {
    ForEachLine([&](Line& line) {
      if (line.meter.info().resource == resource) function(line);
    });
  }

  AccountConfig& config;
  Time now;
  std::array<std::optional<Line>, kLimitKindCount> lines;
  std::array<std::int64_t, kResourceCount> lifetime{};
  bool operator_suspended = false;
  std::optional<LimitKind> terminate;
  std::vector<Event> events;
  // After `lines`: a hold gives its shares back to them when it is destroyed.
  std::map<HoldId, OpenHold> holds;
  std::deque<std::pair<HoldId, Receipt>> settled;  // the last kSettledKept
  HoldId last_hold = 0;
};

}  // namespace single
}  // namespace mete
