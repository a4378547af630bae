#include "agent/history.h"

#include <fmt/format.h>

#include <algorithm>

#include "mete/units.h"

namespace mete::agent {
namespace {

// A run that lasts for weeks may violate a limit in every window. The report keeps the first ones
// and counts the others.
constexpr std::size_t kMostViolations = 1000;
constexpr std::size_t kMostActions = 100;

}  // namespace

void History::Add(const std::vector<Event>& events) {
  for (const Event& event : events) {
    if (event.kind == EventKind::kStoreUnavailable) {
      AddNotice("not on disk until this ends: " + event.detail);
    } else if (event.kind == EventKind::kStoreRecovered) {
      AddNotice("on disk again: " + event.detail);
    }
    if (!event.limit) continue;
    const LimitKind limit = *event.limit;
    const std::string_view name = InfoOf(limit).name;
    switch (event.kind) {
      case EventKind::kViolation: AddViolation(limit, event.used, event.amount, event.time); break;
      case EventKind::kWarned:
        AddAction(limit, "warned", event.time);
        AddNotice(fmt::format("warned: {}: {}", name, UsedOfText(limit, event.used, event.amount)));
        break;
      case EventKind::kThrottled:
        AddAction(limit, "throttled", event.time);
        AddNotice(
            fmt::format("throttled: {}: {}", name, UsedOfText(limit, event.used, event.amount)));
        break;
      default: break;
    }
  }
}

void History::AddViolation(LimitKind limit, std::int64_t used, std::int64_t amount, Time time) {
  if (violations_.size() == kMostViolations) {
    ++dropped_;
    return;
  }
  Violation added{limit, amount, used, time, {}};
  std::erase_if(early_, [&](const auto& early) {
    if (early.first == limit) added.actions.push_back(early.second);
    return early.first == limit;
  });
  // Done after this one began, and noted under the one before it.
  for (Violation& before : violations_) {
    if (before.limit != limit) continue;
    std::erase_if(before.actions, [&](const ActionTaken& action) {
      if (action.time > time) added.actions.push_back(action);
      return action.time > time;
    });
  }
  violations_.push_back(std::move(added));
}

void History::AddAction(LimitKind limit, std::string_view what, Time time) {
  for (auto it = violations_.rbegin(); it != violations_.rend(); ++it) {
    if (it->limit != limit) continue;
    if (it->actions.size() == kMostActions) return;
    const auto later = std::ranges::upper_bound(it->actions, time, {}, &ActionTaken::time);
    it->actions.insert(later, {what, time});
    return;
  }
  if (early_.size() < kMostActions) early_.push_back({limit, {what, time}});
}

void History::AddResumed(Time time) {
  for (Violation& violation : violations_) {
    std::vector<ActionTaken>& actions = violation.actions;
    if (actions.empty() || actions.back().what != "suspended") continue;
    if (actions.size() < kMostActions) actions.push_back({"resumed", time});
  }
}

std::string AmountText(LimitKind kind, std::int64_t amount) {
  const LimitInfo& info = InfoOf(kind);
  if (info.resource == Resource::kMemory || info.resource == Resource::kGpuMemory) {
    return FormatBytes(amount);
  }
  if (kind == LimitKind::kCpu) return FormatNanoDecimal(amount) + " cores";
  if (info.resource == Resource::kCpu) {
    // Milliseconds are as fine as anyone reads; the report has the exact figure.
    return FormatNanoDecimal(amount / 1'000'000 * 1'000'000) + " s";
  }
  return info.unit == Unit::kNano ? FormatNanoDecimal(amount) : std::to_string(amount);
}

std::string UsedOfText(LimitKind kind, std::int64_t used, std::int64_t amount) {
  return fmt::format("{} of {} used", AmountText(kind, used), AmountText(kind, amount));
}

std::string RaiseCommand(std::string_view id, LimitKind kind, std::int64_t used,
                         std::int64_t amount) {
  const std::int64_t base = std::max<std::int64_t>({used, amount, 1});
  const std::int64_t doubled = base > kUnlimited / 4 ? kUnlimited / 2 : base * 2;
  const LimitInfo& info = InfoOf(kind);
  std::string text;
  if (info.resource == Resource::kMemory || info.resource == Resource::kGpuMemory) {
    constexpr std::int64_t kMebi = 1 << 20;
    text = CanonicalBytes((doubled + kMebi - 1) / kMebi * kMebi);
  } else if (info.resource == Resource::kCpu) {
    // Whole seconds are what one types.
    constexpr std::int64_t kSecond = 1'000'000'000;
    text = std::to_string(doubled / kSecond + (doubled % kSecond != 0));
  } else {
    text = info.unit == Unit::kNano ? FormatNanoDecimal(doubled) : std::to_string(doubled);
  }
  std::string flag(info.name);
  std::ranges::replace(flag, '_', '-');
  return fmt::format("mete quota set {} --{} {}", id, flag, text);
}

}  // namespace mete::agent
