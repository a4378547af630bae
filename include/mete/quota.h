// The words of quotas: what is counted, what is limited, and what happens when a limit is passed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "mete/clock.h"
#include "mete/error.h"
#include "mete/units.h"

namespace mete {

// What is counted. Levels (memory, gpu_memory) are held and given back and have a peak; flows are
// used up within a window.
enum class Resource : std::uint8_t { kCpu, kMemory, kGpuMemory, kTokens, kRequests, kCost };
inline constexpr std::size_t kResourceCount = 6;

// What can be limited. One resource may have several limits, each with a window of its own.
enum class LimitKind : std::uint8_t {
  kCpu,                // cores: a rate, in nanoseconds of CPU time per second
  kCpuSecondsPerHour,  // nanoseconds of CPU time
  kMemory,             // bytes
  kGpuMemory,          // bytes
  kTokensPerHour,
  kTokensPerDay,
  kRequestsPerMinute,
  kCostPerDay,  // nano-units of the currency
};
inline constexpr std::size_t kLimitKindCount = 8;

inline constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// How the text of a limit becomes the int64 that is compared.
using Unit = AmountScale;

// What a limit is compared with.
enum class Counting : std::uint8_t {
  kCores,   // nothing: the kernel holds the rate (rule 5)
  kLevel,   // what is held now
  kWindow,  // what was used since the window began
  kRate,    // what was used and has not drained yet, at `limit` per period (GCRA, rule 16)
};

struct LimitInfo {
  LimitKind kind;
  std::string_view name;  // "tokens_per_hour": the field's name in every interface
  Resource resource;
  Unit unit;
  Counting counting;
  Duration window;        // the length of the window, the period of the rate; else zero
  std::string_view what;  // "tokens in an hour": for messages
};

// Every kind once, in the order of the enumeration.
const std::array<LimitInfo, kLimitKindCount>& AllLimits() noexcept;
const LimitInfo& InfoOf(LimitKind kind) noexcept;
std::string_view NameOf(Resource resource) noexcept;  // "gpu_memory"

// Hyphens count as underscores, so that flag names are found too.
std::optional<LimitKind> FindLimit(std::string_view name) noexcept;

// A limit as it was entered and as it is compared; kUnlimited allows everything, 0 nothing.
struct Limit {
  std::int64_t amount = kUnlimited;
  std::string text;  // as entered; empty for unlimited
};

// E2071 names the field, what was given, where it went wrong and what is allowed. "Unlimited" has
// no text: it is an unset value of the caller's own language (null, None).
Result<Limit> ParseLimit(LimitKind kind, std::string_view text);

// An unset entry means "default" on create and "unchanged" on update (rule 2).
struct ResourceLimits {
  std::array<std::optional<Limit>, kLimitKindCount> entries;

  std::optional<Limit>& operator[](LimitKind kind) {
    return entries[static_cast<std::size_t>(kind)];
  }
  const std::optional<Limit>& operator[](LimitKind kind) const {
    return entries[static_cast<std::size_t>(kind)];
  }
};

enum class QuotaScope : std::uint8_t { kAgent, kSession, kTenant };
enum class EnforcementMode : std::uint8_t { kHard, kSoftThenHard, kWarnOnly };
enum class QuotaAction : std::uint8_t { kWarn, kThrottle, kSuspend, kTerminate };

std::string_view NameOf(QuotaScope scope) noexcept;      // "agent"
std::string_view NameOf(EnforcementMode mode) noexcept;  // "soft_then_hard"
std::string_view NameOf(QuotaAction action) noexcept;    // "suspend"
std::optional<QuotaScope> FindScope(std::string_view name) noexcept;
std::optional<EnforcementMode> FindMode(std::string_view name) noexcept;
std::optional<QuotaAction> FindAction(std::string_view name) noexcept;

// What follows a violation, per resource.
struct Policy {
  EnforcementMode mode = EnforcementMode::kHard;
  QuotaAction action = QuotaAction::kSuspend;
};
using PolicySet = std::array<Policy, kResourceCount>;

// What applies unless configured: tokens warn first, everything else acts at once; all suspend.
constexpr PolicySet DefaultPolicies() noexcept {
  PolicySet policies;
  policies[static_cast<std::size_t>(Resource::kTokens)].mode = EnforcementMode::kSoftThenHard;
  return policies;
}

}  // namespace mete
