// What the owner of a ledger answers; the forms of quotas and receipts are those of an agent's
// sockets (agent/quota_json.h). docs/http.md has the shapes.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/quota_event.h"
#include "mete/resource_manager.h"

namespace mete::server {

// `runner`: of the process that attached it. One in a list.
std::string AccountJson(const ResourceQuota& quota, std::optional<pid_t> runner,
                        const Clock& clock);
// By itself: with its lifetime totals, and the limits of what it is below.
std::string AccountJson(const ResourceQuota& quota, std::optional<pid_t> runner,
                        ResourceManager& manager);
std::string TotalsJson(const ResourceUsage& usage);
std::string EventJson(const Event& event);
// {"events": [..], "missed": N, "last": N}; `last`: what to ask for next time.
std::string EventsJson(const std::vector<std::string>& events, std::uint64_t missed,
                       std::uint64_t last);

struct ServedLedger {
  std::string_view name;        // the folder, or "memory"
  std::string_view durability;  // "sync", or empty
};
std::string StatusJson(const StoreStatus& status, const ServedLedger& ledger);

// RFC 3339 in UTC with nanoseconds.
std::string WallText(WallTime time);

}  // namespace mete::server
