#include "agent/responses.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/time_text.h"
#include "agent/usage_fields.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

using wire::JsonWriter;

int StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return 404;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUpdateFailed: return 400;
    case ErrorCode::kLimitExceeded:
    case ErrorCode::kRateLimited: return 429;
    case ErrorCode::kSuspendFailed:
    case ErrorCode::kTerminateFailed: return 502;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kInUse: return 409;
    case ErrorCode::kNotPermitted: return 403;
    case ErrorCode::kStoreUnavailable: return 503;
    case ErrorCode::kSystem: return 500;
  }
  return 500;
}

std::string_view TitleOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return "Not found";
    case ErrorCode::kInvalidArgument: return "Invalid argument";
    case ErrorCode::kUpdateFailed: return "Update failed";
    case ErrorCode::kLimitExceeded: return "Limit exceeded";
    case ErrorCode::kRateLimited: return "Rate limited";
    case ErrorCode::kSuspendFailed: return "Suspend failed";
    case ErrorCode::kTerminateFailed: return "Terminate failed";
    case ErrorCode::kAlreadyExists: return "Already exists";
    case ErrorCode::kInUse: return "In use";
    case ErrorCode::kNotPermitted: return "Not permitted";
    case ErrorCode::kStoreUnavailable: return "Store unavailable";
    case ErrorCode::kSystem: return "System error";
  }
  return "Error";
}

// Used in the main window where a limit looks at it, else since the start.
std::int64_t UsedOf(const ResourceQuota& quota, LimitKind main, std::int64_t total) {
  for (const LimitUsage& usage : quota.windows) {
    if (usage.kind == main) return usage.used;
  }
  return total;
}

void WriteQuotaOf(JsonWriter& json, const Agent& agent, std::optional<pid_t> pid,
                  Account* account = nullptr) {
  const ResourceQuota quota = agent.quota();
  QuotaPage page{.quota = quota,
                 .limits = agent.config().limits,
                 .usage = agent.totals(),
                 .state = NameOf(agent.state()),
                 .pid = pid};
  page.usage.cpu_ns = UsedOf(quota, LimitKind::kCpuSecondsPerHour, page.usage.cpu_ns);
  page.usage.memory_bytes = agent.sample().memory_bytes;
  page.usage.memory_peak_bytes = agent.sample().memory_peak_bytes;
  page.usage.tokens_consumed = UsedOf(quota, LimitKind::kTokensPerHour, page.usage.tokens_consumed);
  for (const LimitUsage& usage : quota.windows) {
    if (usage.reset_at && InfoOf(usage.kind).window == std::chrono::hours(1)) {
      page.reset_at = usage.reset_at;
    }
  }
  if (account != nullptr) {
    page.lifetime = account->Totals();
    page.above = account->Above().value_or(std::vector<ResourceQuota>{});
  }
  WriteQuota(json, page, agent.clock());
}

}  // namespace

wire::HttpResponse ProblemOf(const Error& error, int status) {
  if (status == 0) status = StatusOf(error.code);
  wire::HttpResponse response;
  response.status = status;
  response.headers.emplace_back("content-type", "application/problem+json");
  JsonWriter json;
  json.BeginObject().Field("title", TitleOf(error.code)).Field("status", std::int64_t{status});
  json.Field("code", ErrorCodeName(error.code)).Field("detail", error.message);
  if (status == 429 && error.retry_after > Duration::zero()) {
    json.FieldNano("retry_after_seconds", error.retry_after.count());
    // Whole seconds, by the standard; rounded up, so that nobody comes too early.
    const auto whole = std::chrono::ceil<std::chrono::seconds>(error.retry_after).count();
    response.headers.emplace_back("retry-after", std::to_string(whole));
  }
  response.body = json.EndObject().Take();
  return response;
}

// Bad content was refused before: an invalid argument is the key's, or a sum that passes 63 bits.
wire::HttpResponse KeyedProblemOf(const Error& error, std::string_view key) {
  const bool of_key =
      !key.empty() && error.code == ErrorCode::kInvalidArgument && error.message.starts_with("key");
  return ProblemOf(error, of_key ? 422 : 0);
}

wire::HttpResponse JsonResponse(int status, std::string body) {
  wire::HttpResponse response;
  response.status = status;
  response.headers.emplace_back("content-type", "application/json");
  response.body = std::move(body);
  return response;
}

std::string QuotaJson(Agent& agent, std::optional<pid_t> pid) {
  JsonWriter json;
  WriteQuotaOf(json, agent, pid, &agent.account());
  return json.Take();
}

std::string QuotaListJson(const Agent& agent, std::optional<pid_t> pid) {
  JsonWriter json;
  json.BeginObject().Key("quotas").BeginArray();
  WriteQuotaOf(json, agent, pid);
  return json.EndArray().EndObject().Take();
}

std::string TotalsJson(const Agent& agent) {
  ResourceUsage totals = agent.totals();
  totals.memory_bytes = agent.sample().memory_bytes;
  totals.memory_peak_bytes = agent.sample().memory_peak_bytes;
  JsonWriter json;
  WriteUsage(json, totals);
  return json.Take();
}

std::string ReceiptJson(const Settlement& settlement, const ResourceQuota& quota, bool replayed,
                        const Clock& clock, std::optional<bool> durable) {
  const Receipt& receipt = settlement.receipt;
  JsonWriter json;
  json.BeginObject();
  WriteAmounts(json, "recorded", settlement.used);
  if (!settlement.above_hold.named().empty()) {
    WriteAmounts(json, "above_hold", settlement.above_hold);
  }
  json.Key("not_charged").BeginArray();
  for (const UsageField& field : kUsageFields) {
    if (receipt.measured.Has(field.resource)) json.String(field.name);
  }
  json.EndArray().FieldBool("replayed", replayed);
  if (durable) json.FieldBool("durable", *durable);
  json.FieldBool("suspended", receipt.suspended).FieldBool("throttled", receipt.throttled);
  json.FieldBool("action_pending", receipt.action_pending);
  if (receipt.retry_after > Duration::zero()) {
    json.FieldNano("retry_after_seconds", receipt.retry_after.count());
  }
  std::vector<LimitUsage> limits = quota.windows;
  std::erase_if(limits, [&](const LimitUsage& usage) {
    return !receipt.recorded.Has(InfoOf(usage.kind).resource);
  });
  WriteWindows(json, "limits", limits, clock);
  return json.EndObject().Take();
}

std::string HoldJson(std::uint64_t id, Time expires, const Clock& clock) {
  JsonWriter json;
  json.BeginObject().Field("hold_id", std::to_string(id));
  return json.Field("expires_at", TimeText(expires, clock)).EndObject().Take();
}

}  // namespace mete::agent
