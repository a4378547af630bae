#include "agent/quota_json.h"

#include <string>

#include "agent/time_text.h"
#include "agent/usage_fields.h"

namespace mete::agent {
namespace {

using wire::JsonWriter;

__extension__ using Int128 = __int128;

void WriteCauses(JsonWriter& json, const QuotaPage& page) {
  json.Key("causes").BeginArray();
  for (const Cause& cause : page.quota.causes) {
    std::string text(cause.limit ? InfoOf(*cause.limit).name : "operator");
    if (page.with_tree && cause.account != page.quota.target) {
      text += " of " + PathOf(cause.account);
    }
    json.String(text);
  }
  json.EndArray();
}

void WriteTree(JsonWriter& json, const ResourceQuota& quota) {
  json.Key("parent");
  quota.parent ? json.String(PathOf(*quota.parent)) : json.Null();
  json.FieldBool("is_suspended", quota.suspended).FieldBool("is_terminated", quota.terminated);
  json.Key("held_by").BeginArray();
  for (const Cause& cause : quota.causes) {
    json.BeginObject().Field("account", PathOf(cause.account)).Key("limit");
    cause.limit ? json.String(InfoOf(*cause.limit).name) : json.Null();
    json.Field("action", NameOf(cause.action)).EndObject();
  }
  json.EndArray();
}

void WritePolicies(JsonWriter& json, const PolicySet& policies) {
  json.Key("policy").BeginObject();
  for (std::size_t i = 0; i < kResourceCount; ++i) {
    json.Key(NameOf(static_cast<Resource>(i))).BeginObject();
    json.Field("mode", NameOf(policies[i].mode));
    json.Field("action", NameOf(policies[i].action)).EndObject();
  }
  json.EndObject();
}

// Into the object that is open.
void WriteWindow(JsonWriter& json, const LimitUsage& usage, const Clock& clock) {
  const LimitInfo& info = InfoOf(usage.kind);
  json.Field("limit", info.name);
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
}

void WriteAbove(JsonWriter& json, const std::vector<ResourceQuota>& above, const Clock& clock) {
  json.Key("above").BeginArray();
  for (const ResourceQuota& quota : above) {
    for (const LimitUsage& usage : quota.windows) {
      json.BeginObject().Field("account", PathOf(quota.target)).Field("text", usage.limit.text);
      WriteWindow(json, usage, clock);
      json.EndObject();
    }
  }
  json.EndArray();
}

}  // namespace

void WriteAmount(JsonWriter& json, std::string_view name, const LimitInfo& info,
                 std::int64_t amount) {
  if (info.unit == Unit::kNano) {
    json.FieldNano(name, amount);
  } else {
    json.Field(name, amount);
  }
}

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
    json.BeginObject();
    WriteWindow(json, usage, clock);
    json.EndObject();
  }
  json.EndArray();
}

void WriteAmounts(JsonWriter& json, std::string_view name, const Amounts& amounts) {
  json.Key(name).BeginObject();
  WriteAmounts(json, amounts);
  json.EndObject();
}

void WriteAmounts(JsonWriter& json, const Amounts& amounts) {
  for (const UsageField& field : kUsageFields) {
    if (!amounts.Has(field.resource)) continue;
    const std::int64_t amount = amounts.Get(field.resource);
    switch (field.form) {
      case AmountForm::kWhole: json.Field(field.name, amount); break;
      case AmountForm::kNano: json.FieldNano(field.name, amount); break;
      case AmountForm::kMebi: json.FieldNano(field.name, MebiNano(amount)); break;
    }
  }
}

void WriteUsage(JsonWriter& json, const ResourceUsage& usage) {
  json.BeginObject().FieldNano("cpu_seconds", usage.cpu_ns);
  json.FieldNano("memory_mb", MebiNano(usage.memory_bytes));
  json.FieldNano("memory_peak_mb", MebiNano(usage.memory_peak_bytes));
  json.Field("tokens_consumed", usage.tokens_consumed).Field("requests", usage.requests);
  json.FieldNano("cost", usage.cost_nano).EndObject();
}

void WriteQuota(JsonWriter& json, const QuotaPage& page, const Clock& clock) {
  const ResourceQuota& quota = page.quota;
  json.BeginObject().Field("scope", NameOf(quota.target.scope));
  json.Field("target_id", quota.target.id).Field("state", page.state);
  WriteCauses(json, page);
  json.FieldBool("is_throttled", quota.throttled);
  if (page.with_tree) WriteTree(json, quota);
  WritePolicies(json, quota.policies);
  if (page.pid) json.Field("pid", std::int64_t{*page.pid});
  json.Key("limits").BeginObject();
  for (const std::optional<Limit>& limit : page.limits.entries) {
    if (!limit || limit->amount == kUnlimited) continue;
    const auto kind = static_cast<LimitKind>(&limit - page.limits.entries.data());
    json.Field(InfoOf(kind).name, limit->text);
  }
  json.EndObject().Key("usage");
  WriteUsage(json, page.usage);
  if (page.lifetime) {
    json.Key("lifetime");
    WriteUsage(json, *page.lifetime);
  }
  WriteWindows(json, "windows", quota.windows, clock);
  if (!page.above.empty()) WriteAbove(json, page.above, clock);
  json.Key("reset_at");
  page.reset_at ? json.String(TimeText(*page.reset_at, clock)) : json.Null();
  json.EndObject();
}

std::string PathOf(const TargetName& name) {
  return std::string(NameOf(name.scope)) + "/" + name.id;
}

std::int64_t MebiNano(std::int64_t bytes) {
  const Int128 nano = static_cast<Int128>(bytes) * 1'000'000'000 / (1 << 20);
  return nano > kUnlimited ? kUnlimited : static_cast<std::int64_t>(nano);
}

}  // namespace mete::agent
