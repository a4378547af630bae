#include "server/ledger_json.h"

#include <fmt/format.h>
#include <unistd.h>

#include <ctime>

#include "agent/quota_json.h"
#include "wire/json.h"

namespace mete::server {
namespace {

using wire::JsonWriter;

std::string_view StateOf(const ResourceQuota& quota, bool runs) {
  if (quota.terminated) return runs ? "terminating" : "terminated";
  if (quota.suspended) return "suspended";
  return runs ? "running" : "idle";
}

agent::QuotaPage PageOf(const ResourceQuota& quota, std::optional<pid_t> runner,
                        const Clock& clock) {
  return {.quota = quota,
          .limits = quota.limits,
          .usage = quota.usage,
          .state = StateOf(quota, runner.has_value()),
          .pid = runner,
          // It counts in boot time, which the wall clock of the window's end is read back into.
          .reset_at = clock.Now() + (quota.reset_at - clock.WallNow()),
          .with_tree = true};
}

void WriteAmounts(JsonWriter& json, const Event& event) {
  json.Key("limit");
  if (!event.limit) {
    json.Null();
    return;
  }
  const LimitInfo& info = InfoOf(*event.limit);
  json.String(info.name);
  agent::WriteAmount(json, "used", info, event.used);
  if (event.kind == EventKind::kSettledAboveHold || event.kind == EventKind::kWindowRolled) {
    agent::WriteAmount(json, "amount", info, event.amount);
  } else {
    agent::WriteLimit(json, "amount", info, event.amount);
  }
}

}  // namespace

std::string AccountJson(const ResourceQuota& quota, std::optional<pid_t> runner,
                        const Clock& clock) {
  JsonWriter json;
  agent::WriteQuota(json, PageOf(quota, runner, clock), clock);
  return json.Take();
}

std::string AccountJson(const ResourceQuota& quota, std::optional<pid_t> runner,
                        ResourceManager& manager) {
  agent::QuotaPage page = PageOf(quota, runner, manager.clock());
  // What was removed meanwhile has none.
  if (Result<ResourceUsage> totals = manager.GetUsage(quota.target)) page.lifetime = *totals;
  for (std::optional<TargetName> parent = quota.parent; parent;) {
    Result<ResourceQuota> above = manager.GetQuota(*parent);
    if (!above) break;
    parent = above->parent;
    page.above.push_back(*std::move(above));
  }
  JsonWriter json;
  agent::WriteQuota(json, page, manager.clock());
  return json.Take();
}

std::string TotalsJson(const ResourceUsage& usage) {
  JsonWriter json;
  agent::WriteUsage(json, usage);
  return json.Take();
}

std::string EventJson(const Event& event) {
  JsonWriter json;
  json.BeginObject().Field("sequence", static_cast<std::int64_t>(event.sequence));
  json.Field("kind", NameOf(event.kind)).Field("time", WallText(event.wall_time));
  const bool has_target = !event.target.id.empty();  // the store's own have none
  json.Key("target");
  has_target ? json.String(agent::PathOf(event.target)) : json.Null();
  json.Key("account");
  has_target ? json.String(agent::PathOf(event.account)) : json.Null();
  WriteAmounts(json, event);
  if (event.kind == EventKind::kThreshold) json.Field("percent", std::int64_t{event.percent});
  if (event.kind == EventKind::kWindowRolled) json.Field("windows", event.windows);
  if (!event.detail.empty()) json.Field("detail", event.detail);
  if (event.kind == EventKind::kUsage || event.kind == EventKind::kRemoved) {
    json.Key("usage");
    agent::WriteUsage(json, event.usage);
  }
  return json.EndObject().Take();
}

std::string EventsJson(const std::vector<std::string>& events, std::uint64_t missed,
                       std::uint64_t last) {
  std::string text = "{\"events\":[";
  for (const std::string& event : events) {
    if (&event != &events.front()) text += ',';
    text += event;
  }
  return text + fmt::format("],\"missed\":{},\"last\":{}}}", missed, last);
}

std::string StatusJson(const StoreStatus& status, const ServedLedger& ledger) {
  JsonWriter json;
  json.BeginObject().Field("pid", std::int64_t{getpid()}).Field("ledger", ledger.name);
  json.Key("durability");
  ledger.durability.empty() ? json.Null() : json.String(ledger.durability);
  json.Key("store");
  if (!status.has_store) return json.Null().EndObject().Take();
  json.BeginObject().FieldBool("available", status.available).Key("unavailable_since");
  status.available ? json.Null() : json.String(WallText(status.unavailable_since));
  json.Key("error");
  status.error.empty() ? json.Null() : json.String(status.error);
  json.FieldNano("oldest_unwritten_seconds", status.oldest_unwritten.count());
  json.Field("batches", static_cast<std::int64_t>(status.batches));
  json.FieldNano("last_write_seconds", status.last_write.count());
  json.FieldNano("slowest_write_seconds", status.slowest_write.count());
  return json.EndObject().EndObject().Take();
}

std::string WallText(WallTime time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t seconds = whole.time_since_epoch().count();
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     (time - whole).count());
}

}  // namespace mete::server
