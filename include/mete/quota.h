// The words of quotas: what is counted, what is limited, what happens when a limit is passed, and
// the values in which usage goes in and comes out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
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

// The accounts that can have a quota, named by scope and id. A view: the text outlives the call.
struct Target {
  constexpr Target(std::string_view agent) noexcept : id(agent) {}  // NOLINT: reads as the agent
  constexpr Target(const char* agent) noexcept : id(agent) {}       // NOLINT
  Target(const std::string& agent) noexcept : id(agent) {}          // NOLINT
  constexpr Target(QuotaScope scope_in, std::string_view id_in) noexcept
      : scope(scope_in), id(id_in) {}

  QuotaScope scope = QuotaScope::kAgent;
  std::string_view id;
};

// The same with a text of its own.
struct TargetName {
  QuotaScope scope = QuotaScope::kAgent;
  std::string id;

  operator Target() const noexcept { return {scope, id}; }  // NOLINT: the view of it
  std::string ToString() const;                             // "session nightly"
  friend bool operator==(const TargetName&, const TargetName&) = default;
};

// A set of resources.
class ResourceSet {
 public:
  constexpr ResourceSet() noexcept = default;
  constexpr ResourceSet(std::initializer_list<Resource> resources) noexcept {
    for (const Resource resource : resources) Insert(resource);
  }

  constexpr void Insert(Resource resource) noexcept {
    bits_ = static_cast<std::uint8_t>(bits_ | Bit(resource));
  }
  constexpr bool Has(Resource resource) const noexcept { return (bits_ & Bit(resource)) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr ResourceSet operator&(ResourceSet other) const noexcept {
    return ResourceSet(bits_ & other.bits_);
  }
  constexpr ResourceSet operator+(ResourceSet other) const noexcept {
    return ResourceSet(bits_ | other.bits_);
  }
  constexpr ResourceSet operator-(ResourceSet other) const noexcept {
    return ResourceSet(bits_ & ~other.bits_);
  }
  friend bool operator==(const ResourceSet&, const ResourceSet&) = default;

 private:
  explicit constexpr ResourceSet(int bits) noexcept : bits_(static_cast<std::uint8_t>(bits)) {}
  static constexpr int Bit(Resource resource) noexcept { return 1 << static_cast<int>(resource); }

  std::uint8_t bits_ = 0;
};

// In the order of the enumeration.
template <class Function>
constexpr void ForEachResource(ResourceSet resources, Function&& function) {
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    if (resources.Has(resource)) function(resource);
  }
}

// Amounts of some resources, in base units: nanoseconds, bytes, counts, nano-units of money. One
// that is not named is not looked at (rule 9), which is not the same as zero.
class Amounts {
 public:
  constexpr Amounts() noexcept = default;

  constexpr Amounts& Set(Resource resource, std::int64_t amount) noexcept {
    values_[static_cast<std::size_t>(resource)] = amount;
    named_.Insert(resource);
    return *this;
  }
  constexpr bool Has(Resource resource) const noexcept { return named_.Has(resource); }
  constexpr ResourceSet named() const noexcept { return named_; }
  // 0 for one that is not named.
  constexpr std::int64_t Get(Resource resource) const noexcept {
    return values_[static_cast<std::size_t>(resource)];
  }
  friend bool operator==(const Amounts&, const Amounts&) = default;

 private:
  std::array<std::int64_t, kResourceCount> values_{};  // 0 where not named
  ResourceSet named_;
};

// Reported by the target itself, or sampled by mete from outside: they differ in the grace that a
// soft limit gives (rule 10), and in what a target that is measured may say (rule 15).
enum class Source : std::uint8_t { kReported, kSampled };

// What was used: in the main window (`ResourceQuota::usage`), or since the account was created
// (`ResourceManager::GetUsage`). Levels are what is held now; their peaks are of that same span.
struct ResourceUsage {
  std::int64_t cpu_ns = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_peak_bytes = 0;
  std::int64_t gpu_memory_bytes = 0;
  std::int64_t gpu_memory_peak_bytes = 0;
  std::int64_t tokens_consumed = 0;
  std::int64_t requests = 0;
  std::int64_t cost_nano = 0;

  double cpu_seconds() const noexcept { return static_cast<double>(cpu_ns) / 1e9; }
  double memory_peak_mb() const noexcept {  // MiB
    return static_cast<double>(memory_peak_bytes) / (1 << 20);
  }
  friend bool operator==(const ResourceUsage&, const ResourceUsage&) = default;
};
using QuotaUsage = ResourceUsage;

}  // namespace mete
