// The one table of limits, and the spellings of the enumerations. The indices of each table are the
// values of its enumeration; quota_words_test.cc checks that.
#include <chrono>

#include "base/check.h"
#include "mete/quota.h"
#include "mete/quota_event.h"
#include "mete/resource_manager.h"

namespace mete {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

constexpr std::array<LimitInfo, kLimitKindCount> kLimits = {{
    {LimitKind::kCpu, "cpu", Resource::kCpu, Unit::kNano, Counting::kCores, Duration(0), "cores"},
    {LimitKind::kCpuSecondsPerHour, "cpu_seconds_per_hour", Resource::kCpu, Unit::kNano,
     Counting::kWindow, hours(1), "seconds of CPU time in an hour"},
    {LimitKind::kMemory, "memory", Resource::kMemory, Unit::kWhole, Counting::kLevel, Duration(0),
     "bytes of memory"},
    {LimitKind::kGpuMemory, "gpu_memory", Resource::kGpuMemory, Unit::kWhole, Counting::kLevel,
     Duration(0), "bytes of GPU memory"},
    {LimitKind::kTokensPerHour, "tokens_per_hour", Resource::kTokens, Unit::kWhole,
     Counting::kWindow, hours(1), "tokens in an hour"},
    {LimitKind::kTokensPerDay, "tokens_per_day", Resource::kTokens, Unit::kWhole, Counting::kWindow,
     hours(24), "tokens in a day"},
    {LimitKind::kRequestsPerMinute, "requests_per_minute", Resource::kRequests, Unit::kWhole,
     Counting::kRate, minutes(1), "requests in a minute"},
    {LimitKind::kCostPerDay, "cost_per_day", Resource::kCost, Unit::kNano, Counting::kWindow,
     hours(24), "money in a day"},
}};

constexpr std::array<std::string_view, kResourceCount> kResources = {
    "cpu", "memory", "gpu_memory", "tokens", "requests", "cost"};
constexpr std::array<std::string_view, 3> kScopes = {"agent", "session", "tenant"};
constexpr std::array<std::string_view, 3> kModes = {"hard", "soft_then_hard", "warn_only"};
constexpr std::array<std::string_view, 17> kEventKinds = {"created",
                                                          "updated",
                                                          "threshold",
                                                          "violation",
                                                          "warned",
                                                          "throttled",
                                                          "suspended",
                                                          "resumed",
                                                          "terminated",
                                                          "action_failed",
                                                          "reset",
                                                          "window_rolled",
                                                          "settled_above_hold",
                                                          "removed",
                                                          "usage",
                                                          "store_unavailable",
                                                          "store_recovered"};
constexpr std::array<std::string_view, 3> kDurabilities = {"sync", "bounded", "none"};
constexpr std::array<std::string_view, 4> kActions = {"warn", "throttle", "suspend", "terminate"};

template <class Names, class Enum>
std::string_view NameIn(const Names& names, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  METE_CHECK(index < names.size());
  return names[index];
}

template <class Enum, class Names>
std::optional<Enum> FindIn(const Names& names, std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

bool SameButForHyphens(std::string_view name, std::string_view given) {
  if (name.size() != given.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != given[i] && !(name[i] == '_' && given[i] == '-')) return false;
  }
  return true;
}

}  // namespace

const std::array<LimitInfo, kLimitKindCount>& AllLimits() noexcept { return kLimits; }

const LimitInfo& InfoOf(LimitKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  METE_CHECK(index < kLimits.size());
  return kLimits[index];
}

std::optional<LimitKind> FindLimit(std::string_view name) noexcept {
  for (const LimitInfo& info : kLimits) {
    if (SameButForHyphens(info.name, name)) return info.kind;
  }
  return std::nullopt;
}

Result<Limit> ParseLimit(LimitKind kind, std::string_view text) {
  const LimitInfo& info = InfoOf(kind);
  Result<std::int64_t> amount = ParseLimitAmount(text, info.unit);
  if (!amount) {
    return Fail(amount.error().code, std::string(info.name) + ": " + amount.error().message);
  }
  return Limit{*amount, std::string(text)};
}

std::string_view NameOf(Resource resource) noexcept { return NameIn(kResources, resource); }
std::string_view NameOf(QuotaScope scope) noexcept { return NameIn(kScopes, scope); }
std::string_view NameOf(EnforcementMode mode) noexcept { return NameIn(kModes, mode); }
std::string_view NameOf(EventKind kind) noexcept { return NameIn(kEventKinds, kind); }
std::string_view NameOf(Durability durability) noexcept {
  return NameIn(kDurabilities, durability);
}
std::string_view NameOf(QuotaAction action) noexcept { return NameIn(kActions, action); }

std::optional<QuotaScope> FindScope(std::string_view name) noexcept {
  return FindIn<QuotaScope>(kScopes, name);
}
std::optional<EnforcementMode> FindMode(std::string_view name) noexcept {
  return FindIn<EnforcementMode>(kModes, name);
}
std::optional<EventKind> FindEventKind(std::string_view name) noexcept {
  return FindIn<EventKind>(kEventKinds, name);
}
std::optional<Durability> FindDurability(std::string_view name) noexcept {
  return FindIn<Durability>(kDurabilities, name);
}
std::optional<QuotaAction> FindAction(std::string_view name) noexcept {
  return FindIn<QuotaAction>(kActions, name);
}

}  // namespace mete
