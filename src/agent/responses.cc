#include "agent/responses.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/time_text.h"
#include "agent/usage_fields.h"
#include "wire/json.h"

namespace mete::agent {
namespace {

using wire::JsonWriter;

__extension__ using Int128 = __int128;

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

void WriteAmount(JsonWriter& json, std::string_view name, const LimitInfo& info,
                 std::int64_t amount) {
  if (info.unit == Unit::kNano) {
    json.FieldNano(name, amount);
  } else {
    json.Field(name, amount);
  }
}

// A limit, or what it leaves: null where there is none. What is used may be as large, and is not.
void WriteLimit(JsonWriter& json, std::string_view name, const LimitInfo& info,
                std::int64_t amount) {
  if (amount == kUnlimited) {
    json.Key(name).Null();
  } else {
    WriteAmount(json, name, info, amount);
  }
}

void WriteWindows(JsonWriter& json, std::string_view name, const std::vector<LimitUsage>& usages,
                  const Clock& clock) {
  json.Key(name).BeginArray();
  for (const LimitUsage& usage : usages) {
    const LimitInfo& info = InfoOf(usage.kind);
    json.BeginObject().Field("limit", info.name);
    WriteLimit(json, "amount", info, usage.limit.amount);
    WriteAmount(json, "used", info, usage.used);
    WriteAmount(json, "held", info, usage.held);
    WriteLimit(json, "remaining", info, usage.remaining());
    json.FieldBool("violated", usage.violated);
    if (usage.reset_at) {
      json.Field("reset_at", TimeText(*usage.reset_at, clock));
    } else {
      json.Key("reset_at").Null();
    }
    json.EndObject();
  }
  json.EndArray();
}

void WriteAmounts(JsonWriter& json, std::string_view name, const Amounts& amounts) {
  json.Key(name).BeginObject();
  for (const UsageField& field : kUsageFields) {
    if (!amounts.Has(field.resource)) continue;
    const std::int64_t amount = amounts.Get(field.resource);
    switch (field.form) {
      case AmountForm::kWhole: json.Field(field.name, amount); break;
      case AmountForm::kNano: json.FieldNano(field.name, amount); break;
      case AmountForm::kMebi: json.FieldNano(field.name, MebiNano(amount)); break;
    }
  }
  json.EndObject();
}

// Used in the main window where a limit looks at it, else since the start.
std::int64_t UsedOf(const ResourceQuota& quota, LimitKind main, std::int64_t total) {
  for (const LimitUsage& usage : quota.windows) {
    if (usage.kind == main) return usage.used;
  }
  return total;
}

void WriteQuota(JsonWriter& json, const Agent& agent, std::optional<pid_t> pid) {
  const ResourceQuota quota = agent.quota();
  const ResourceUsage totals = agent.totals();
  json.BeginObject().Field("scope", "agent").Field("target_id", agent.id());
  json.Field("state", NameOf(agent.state()));
  json.Key("causes").BeginArray();
  for (const Cause& cause : quota.causes) {
    json.String(cause.limit ? InfoOf(*cause.limit).name : "operator");
  }
  json.EndArray().FieldBool("is_throttled", quota.throttled);
  if (pid) json.Field("pid", std::int64_t{*pid});
  json.Key("limits").BeginObject();
  for (const std::optional<Limit>& limit : agent.config().limits.entries) {
    if (!limit || limit->amount == kUnlimited) continue;
    const auto kind = static_cast<LimitKind>(&limit - agent.config().limits.entries.data());
    json.Field(InfoOf(kind).name, limit->text);
  }
  json.EndObject().Key("usage").BeginObject();
  json.FieldNano("cpu_seconds", UsedOf(quota, LimitKind::kCpuSecondsPerHour, totals.cpu_ns));
  json.FieldNano("memory_mb", MebiNano(agent.sample().memory_bytes));
  json.FieldNano("memory_peak_mb", MebiNano(agent.sample().memory_peak_bytes));
  json.Field("tokens_consumed", UsedOf(quota, LimitKind::kTokensPerHour, totals.tokens_consumed));
  json.Field("requests", totals.requests);
  json.FieldNano("cost", totals.cost_nano);
  json.EndObject();
  WriteWindows(json, "windows", quota.windows, agent.clock());
  std::optional<Time> reset_at;
  for (const LimitUsage& usage : quota.windows) {
    if (usage.reset_at && InfoOf(usage.kind).window == std::chrono::hours(1)) {
      reset_at = usage.reset_at;
    }
  }
  json.Key("reset_at");
  reset_at ? json.String(TimeText(*reset_at, agent.clock())) : json.Null();
  json.EndObject();
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

wire::HttpResponse JsonResponse(int status, std::string body) {
  wire::HttpResponse response;
  response.status = status;
  response.headers.emplace_back("content-type", "application/json");
  response.body = std::move(body);
  return response;
}

std::string QuotaJson(const Agent& agent, std::optional<pid_t> pid) {
  JsonWriter json;
  WriteQuota(json, agent, pid);
  return json.Take();
}

std::string QuotaListJson(const Agent& agent, std::optional<pid_t> pid) {
  JsonWriter json;
  json.BeginObject().Key("quotas").BeginArray();
  WriteQuota(json, agent, pid);
  return json.EndArray().EndObject().Take();
}

std::string TotalsJson(const Agent& agent) {
  const ResourceUsage totals = agent.totals();
  JsonWriter json;
  json.BeginObject().FieldNano("cpu_seconds", totals.cpu_ns);
  json.FieldNano("memory_mb", MebiNano(agent.sample().memory_bytes));
  json.FieldNano("memory_peak_mb", MebiNano(agent.sample().memory_peak_bytes));
  json.Field("tokens_consumed", totals.tokens_consumed).Field("requests", totals.requests);
  return json.FieldNano("cost", totals.cost_nano).EndObject().Take();
}

std::string ReceiptJson(const Settlement& settlement, const ResourceQuota& quota, bool replayed,
                        const Clock& clock) {
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

std::int64_t MebiNano(std::int64_t bytes) {
  const Int128 nano = static_cast<Int128>(bytes) * 1'000'000'000 / (1 << 20);
  return nano > kUnlimited ? kUnlimited : static_cast<std::int64_t>(nano);
}

}  // namespace mete::agent
