// The JSON forms of quotas and of what stands in them, alike wherever one is shown: the sockets of
// an agent, and the owner of a state folder. docs/run.md has the shapes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "mete/clock.h"
#include "mete/resource_manager.h"
#include "wire/json.h"

namespace mete::agent {

// A quota, and what whoever shows it knows beside it.
struct QuotaPage {
  const ResourceQuota& quota;
  const ResourceLimits& limits;  // those that are set are shown, as entered
  ResourceUsage usage{};         // in the main window, or since the start
  std::string_view state;
  std::optional<pid_t> pid{};  // of what runs
  std::optional<Time> reset_at{};
  // Of a ledger with more than one account: the parent, and what the causes ask for.
  bool with_tree = false;
  // Of one account by itself, not of one in a list: since it was created, and what it is below.
  std::optional<ResourceUsage> lifetime{};
  std::vector<ResourceQuota> above{};
};

// A member for the object that is open, or the object itself.
void WriteQuota(wire::JsonWriter& json, const QuotaPage& page, const Clock& clock);
void WriteUsage(wire::JsonWriter& json, const ResourceUsage& usage);
void WriteWindows(wire::JsonWriter& json, std::string_view name,
                  const std::vector<LimitUsage>& usages, const Clock& clock);
void WriteAmounts(wire::JsonWriter& json, std::string_view name, const Amounts& amounts);
void WriteAmounts(wire::JsonWriter& json, const Amounts& amounts);  // the fields of an object
void WriteAmount(wire::JsonWriter& json, std::string_view name, const LimitInfo& info,
                 std::int64_t amount);
// A limit, or what it leaves: null where there is none.
void WriteLimit(wire::JsonWriter& json, std::string_view name, const LimitInfo& info,
                std::int64_t amount);

// "tenant/acme": how one text names an account; no id holds a slash.
std::string PathOf(const TargetName& name);

// Bytes in MiB, in billionths: what memory_mb means.
std::int64_t MebiNano(std::int64_t bytes);

}  // namespace mete::agent
