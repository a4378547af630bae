// What the owner of a ledger is asked: paths, queries and bodies. docs/http.md has the shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mete/error.h"
#include "mete/resource_manager.h"

namespace mete::server {

// The parts between the slashes, and the query, percent-decoded. E2071: a bad escape, a name that
// is given twice.
struct RequestPath {
  std::vector<std::string> parts;
  std::vector<std::pair<std::string, std::string>> query;

  // Nothing where it is not given.
  std::optional<std::string_view> Query(std::string_view name) const;
  // E2071 names the parameters that are none of these.
  Result<void> AllowOnly(std::initializer_list<std::string_view> names) const;
};
Result<RequestPath> ReadPath(std::string_view target);

// What may stand in a path: everything but letters, digits and "-._~" as %XX.
std::string PercentEncoded(std::string_view text);

// "tenant/acme"; E2071 names `field`.
Result<TargetName> ParseTarget(std::string_view field, std::string_view text);

struct CreateMessage {
  TargetName target;
  ResourceLimits limits;
  QuotaOptions options;
};
// {scope, target_id, parent?, limits?, policy?, window_seconds?, exist_ok?}. A resource that
// `policy` names in part keeps the rest of `configured`.
Result<CreateMessage> ReadCreate(std::string_view body, const PolicySet& configured);

// {measured?: ["cpu_seconds", ..], cpu_held?: BOOL}, or nothing at all.
Result<ResourceManager::Running> ReadAttach(std::string_view body);

struct EventsQuery {
  // Of one answer. A reader takes 10,000 values (wire/json.cc), and one event has up to 18.
  static constexpr std::size_t kMost = 500;
  std::optional<std::uint64_t> after{};
  bool follow = false;
  std::size_t most = kMost;
  std::optional<TargetName> target{};  // only what concerns it: as target or as account
};
Result<EventsQuery> ReadEventsQuery(const RequestPath& path, std::string_view last_event_id);

struct ListQuery {
  std::optional<QuotaScope> scope{};
  std::size_t offset = 0;
};
Result<ListQuery> ReadListQuery(const RequestPath& path);

Result<std::uint64_t> ParseNumber(std::string_view field, std::string_view text);

}  // namespace mete::server
