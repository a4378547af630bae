// Limits and policies on a command line: the options that several commands share, and what they
// say.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "cli/flags.h"
#include "cli/values.h"
#include "mete/quota.h"
#include "wire/json.h"

namespace mete::cli {

// Of stored accounts and running agents, which may have any limit; named as the limits are.
inline constexpr std::array<Flag, kLimitKindCount> kLimitFlags = {{
    {"cpu", "CORES", "CPU time per second, like 500m or 2", CheckLimitOrUnlimited},
    {"memory", "QUANTITY", "bytes, like 256Mi", CheckLimitOrUnlimited},
    {"gpu-memory", "QUANTITY", "bytes of GPU memory", CheckLimitOrUnlimited},
    {"tokens-per-hour", "N", "tokens in an hour", CheckLimitOrUnlimited},
    {"tokens-per-day", "N", "tokens in a day", CheckLimitOrUnlimited},
    {"requests-per-minute", "N", "requests in a minute", CheckLimitOrUnlimited},
    {"cost-per-day", "MONEY", "money in a day, like 2.50", CheckLimitOrUnlimited},
    {"cpu-seconds-per-hour", "S", "seconds of CPU time in an hour", CheckLimitOrUnlimited},
}};

// ACTION[:MODE]
Result<void> CheckTokenPolicy(const Flag& flag, std::string_view value);

// What follows a breach.
inline constexpr std::array<Flag, 3> kPolicyFlags = {{
    {"on-cpu", "suspend|throttle|terminate|warn",
     "what a breach of cpu-seconds-per-hour does (default suspend)", CheckChoice},
    {"on-memory", "terminate|suspend|throttle|warn",
     "what a memory breach does (default terminate)", CheckChoice},
    {"on-tokens", "ACTION[:MODE]",
     "what a token breach does: warn, throttle, suspend, terminate; MODE hard or soft_then_hard "
     "(default suspend:soft_then_hard)",
     CheckTokenPolicy},
}};

// One table of several.
template <std::size_t... kSizes>
constexpr auto Joined(const std::array<Flag, kSizes>&... tables) {
  std::array<Flag, (kSizes + ...)> all;
  auto at = all.begin();
  ((at = std::copy(tables.begin(), tables.end(), at)), ...);
  return all;
}

// The member "limits" with those that were given, "unlimited" as null. False, and nothing written,
// if there are none.
bool WriteLimits(wire::JsonWriter& json, const Flags& flags);

// Of an agent, by kPolicyFlags and their defaults; they were checked when they were parsed.
PolicySet PoliciesOf(const Flags& flags);

// The member "policy" for a new account: of an agent all of PoliciesOf; of what is above agents
// only those that were given, for a breach there is answered for all of them.
void WritePolicies(wire::JsonWriter& json, const Flags& flags, QuotaScope scope);

}  // namespace mete::cli
